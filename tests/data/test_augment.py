"""Photo and segment map stay aligned under scale, crop, flip and copy-paste."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from eovseg.data.augment import PADDING_GREY, Augmentation, augment, jitter_colour, paste_instance, random_view
from eovseg.data.sources import VOID, Sample, SegmentLabel
from tests.data.conftest import block_drawing, colour_of

STILL = Augmentation(
    scale=(0.5, 2.0), brightness=0, contrast=0, saturation=0, hue=0, grey_probability=0, paste_probability=0
)
FITTED = Augmentation(
    **{**vars(STILL), "scale": (1.0, 1.0), "aspect": 1.0, "flip": False}
)  # unchanged if it fits the crop
PERSON, CAT, SKY = SegmentLabel(0, True, False), SegmentLabel(15, True, False), SegmentLabel(119, False, False)


def _sample(ids: np.ndarray, segments: dict[int, SegmentLabel], known: int = 133) -> Sample:
    image = np.zeros((*ids.shape, 3), dtype=np.uint8)
    for segment_id in np.unique(ids):
        image[ids == segment_id] = colour_of(int(segment_id))
    return Sample(image, ids.astype(np.uint16), segments, np.arange(133) < known)


def _blocks() -> Sample:
    return _sample(block_drawing()[0], {1: PERSON, 2: CAT, 3: SKY})


def _assert_aligned(view: Sample, colours: dict[int, tuple[int, int, int]], margin: int) -> None:
    """Pixels farther than `margin` from the border of segment and crop have the segment's colour."""
    for number, colour in colours.items():
        inside = view.segment_map == number
        core = binary_erosion(inside, np.ones((3, 3)), iterations=margin)
        assert (view.image[core] == colour).all()


@pytest.mark.parametrize("seed", range(12))
def test_view_keeps_masks_on_their_colours(seed: int) -> None:
    view = random_view(_blocks(), 64, STILL, np.random.default_rng(seed))
    assert view.image.shape == (64, 64, 3)
    assert (view.image.dtype, view.segment_map.dtype) == (np.uint8, np.uint16)
    assert np.count_nonzero(view.segment_map == 3) > 50
    grey = (PADDING_GREY,) * 3
    _assert_aligned(view, {0: colour_of(0), 1: colour_of(1), 2: colour_of(2), 3: colour_of(3), VOID: grey}, 2)
    assert set(np.unique(view.segment_map)) <= {0, 1, 2, 3, VOID}


def test_fitted_view_is_the_photo_on_grey() -> None:
    sample = _blocks()
    view = random_view(sample, 64, FITTED, np.random.default_rng(0))
    rows = np.flatnonzero(view.segment_map[:, 0] != VOID)
    assert len(rows) == 48
    assert np.array_equal(view.segment_map[rows], sample.segment_map)
    assert np.array_equal(view.image[rows], sample.image)
    outside = np.delete(view.image, rows, axis=0)
    assert (outside == PADDING_GREY).all()
    assert (np.delete(view.segment_map, rows, axis=0) == VOID).all()


def test_flip_turns_photo_and_map_together() -> None:
    flipping = Augmentation(**{**vars(FITTED), "flip": True})
    sample = _sample(np.array([[1] * 16 + [2] * 16] * 32), {1: PERSON, 2: CAT})
    left = {int(random_view(sample, 32, flipping, np.random.default_rng(seed)).segment_map[0, 0]) for seed in range(20)}
    assert left == {1, 2}
    for seed in range(20):
        view = random_view(sample, 32, flipping, np.random.default_rng(seed))
        assert tuple(view.image[0, 0]) == colour_of(int(view.segment_map[0, 0]))


def test_scale_is_relative_to_fitting_the_crop() -> None:
    sample = _sample(np.ones((20, 40), dtype=int), {1: PERSON})
    for scale, area in ((0.5, 8 * 16), (1.0, 16 * 32), (4.0, 32 * 32)):
        view = random_view(
            sample, 32, Augmentation(**{**vars(FITTED), "scale": (scale, scale)}), np.random.default_rng(1)
        )
        assert np.count_nonzero(view.segment_map == 1) == area


def test_the_sample_is_not_changed() -> None:
    sample, donor = _blocks(), _blocks()
    before = sample.image.copy(), sample.segment_map.copy()
    always = Augmentation(paste_probability=1.0)
    for seed in range(5):
        augment(sample, donor, 64, always, np.random.default_rng(seed))
    assert np.array_equal(sample.image, before[0])
    assert np.array_equal(sample.segment_map, before[1])
    assert sample.segments == {1: PERSON, 2: CAT, 3: SKY}


def _donor(label: SegmentLabel = CAT) -> Sample:
    ids = np.zeros((40, 40), dtype=int)
    ids[10:30, 12:28] = 5
    return _sample(ids, {5: label})


@pytest.mark.parametrize("seed", range(8))
def test_pasted_instance_is_labelled_where_its_pixels_are(seed: int) -> None:
    ids = np.full((64, 64), 3)
    ids[20:44, 20:44] = 1
    ids[:, 60:] = VOID  # unknown, like outside the photo
    view = _sample(np.where(ids == VOID, 0, ids), {1: PERSON, 3: SKY})
    view.segment_map[:, 60:] = VOID
    before = view.segment_map.copy()
    paste_instance(view, _donor(), Augmentation(), np.random.default_rng(seed))
    assert view.segments == {1: PERSON, 3: SKY, 4: CAT}
    pasted = view.segment_map == 4
    assert pasted.any()
    assert np.array_equal(view.segment_map[~pasted], before[~pasted])
    core = binary_erosion(pasted, np.ones((3, 3)), iterations=2)
    assert (view.image[core] == colour_of(5)).all()
    far = ~np.isin(np.arange(64), np.flatnonzero(pasted.any(axis=1)))
    assert (view.image[far][:, :20][view.segment_map[far][:, :20] == 3] == colour_of(3)).mean() > 0.9


def test_half_of_a_pasted_instance_stays_inside() -> None:
    side = Augmentation(paste_side=(0.5, 0.5))
    for seed in range(30):
        view = _sample(np.full((40, 40), 3), {3: SKY})
        paste_instance(view, _donor(), side, np.random.default_rng(seed))
        assert np.count_nonzero(view.segment_map == 4) >= 20 * 16 / 4


def _cut() -> Sample:
    donor = _donor()
    return _sample(donor.segment_map[:, 12:].astype(int), donor.segments)


@pytest.mark.parametrize(
    ("donor", "known"),
    [
        (_donor(SegmentLabel(15, True, True)), 133),
        (_donor(SKY), 133),
        (_donor(), 10),
        (_cut(), 133),
        (_sample(np.pad(np.full((6, 6), 5), 10), {5: CAT}), 133),
        (_sample(np.zeros((40, 40), dtype=int), {}), 133),
    ],
    ids=["crowd", "stuff", "class that may not compete", "cut by the border", "tiny", "no instance"],
)
def test_donors_that_are_not_pasted(donor: Sample, known: int) -> None:
    for seed in range(5):
        view = _sample(np.full((64, 64), 3), {3: SKY}, known)
        paste_instance(view, donor, Augmentation(), np.random.default_rng(seed))
        assert (view.segment_map == 3).all()
        assert (view.image == colour_of(3)).all()
        assert view.segments == {3: SKY}


def test_no_colour_change_is_the_identity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    same = jitter_colour(image, STILL, np.random.default_rng(0))
    assert np.abs(same.astype(int) - image).max() <= 1


def test_colour_changes() -> None:
    image = np.full((8, 8, 3), (200, 100, 50), dtype=np.uint8)
    grey = jitter_colour(image, Augmentation(**{**vars(STILL), "grey_probability": 1.0}), np.random.default_rng(0))
    assert np.abs(grey.astype(int) - 124).max() <= 1  # 0.299 · 200 + 0.587 · 100 + 0.114 · 50
    hue = Augmentation(**{**vars(STILL), "hue": 0.2})
    turned = jitter_colour(image, hue, np.random.default_rng(0)).astype(int)
    assert np.abs(turned - image).max() > 5
    assert abs(turned[0, 0].sum() - 350) <= 3
    flat = Augmentation(**{**vars(STILL), "contrast": 0.9})
    changed = jitter_colour(np.repeat(np.uint8([[[40], [200]]]), 3, axis=2), flat, np.random.default_rng(3)).astype(int)
    assert changed[0, 1, 0] - changed[0, 0, 0] != 160


def test_without_a_donor_nothing_is_pasted_and_seeds_decide() -> None:
    always = Augmentation(paste_probability=1.0)
    views = [augment(_blocks(), None, 64, always, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(view.segments.keys() == {1, 2, 3} for view in views)
    assert np.array_equal(views[0].image, views[1].image)
    assert not np.array_equal(views[0].image, views[2].image)
