"""Instance masks behave like the array that they represent, and use little memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from eovseg.benchmark.measure import peak_memory
from eovseg.composition.geometry import MaskGeometry
from eovseg.composition.instance import instances
from eovseg.instance_masks import InstanceMasks, MaskCrop


@st.composite
def dense_masks(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 99))).random(shape) < share


@settings(deadline=None)
@given(dense_masks())
def test_they_are_read_like_the_array(dense: np.ndarray) -> None:
    masks = InstanceMasks.of(dense)
    assert masks.shape == dense.shape and len(masks) == len(dense)
    np.testing.assert_array_equal(np.asarray(masks), dense)
    for place, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, dense[place])
        crop, expected = masks.crops[place], coco_mask.encode(np.asfortranarray(dense[place], dtype=np.uint8))
        assert masks.rle(place) == expected
        x0, y0, x1, y1 = crop.box
        assert crop.area == dense[place].sum()
        if crop.area:
            assert [x0, y0, x1 - x0, y1 - y0] == coco_mask.toBbox(expected).tolist()
    odd = list(range(len(dense)))[1::2]
    np.testing.assert_array_equal(np.asarray(masks[odd]), dense[odd])
    np.testing.assert_array_equal(np.asarray(masks[1::2]), dense[1::2])
    painted = np.zeros(dense.shape[1:], dtype=np.int32)
    for place in range(len(dense) - 1, -1, -1):
        painted[dense[place]] = place + 1
    np.testing.assert_array_equal(masks.painted(), painted)
    assert masks.painted().flags["C_CONTIGUOUS"]


def test_the_first_mask_covers_the_others() -> None:
    masks = InstanceMasks.of(np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], dtype=bool))
    assert masks.painted().tolist() == [[1, 1, 2, 0]]


@pytest.mark.parametrize("place", [(slice(None), slice(20, 24)), (slice(20, 24), slice(None))], ids=["right", "below"])
def test_a_mask_in_the_padding_alone_is_empty(place: tuple[slice, slice]) -> None:
    logits = torch.full((2, 24, 24), -9.0)
    logits[0][place] = 9.0
    logits[1, 2:6, 3:9] = 9.0
    way = MaskGeometry((96, 96), (66, 66), (120, 120))
    found = instances(torch.zeros(2, 2).log_softmax(-1), logits, torch.tensor([True]), way)
    areas = {int(query): crop.area for query, crop in zip(found.queries, found.masks.crops, strict=True)}
    assert areas[0] == 0 and areas[1] > 100


def test_only_boxes_of_kernels_that_score_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kernels score, each in a corner; the third would fill the photo. Changing the threshold reuses masks."""
    logits = torch.full((3, 24, 24), -9.0)
    logits[0, :5, :5] = logits[1, 18:, 18:] = logits[2] = 9.0
    classes = torch.tensor([[9.0, 0.0], [9.0, 0.0], [-9.0, 0.0]]).log_softmax(-1)
    made = []
    window = MaskGeometry.window

    def noted(own: MaskGeometry, masks: torch.Tensor, rows: slice, columns: slice) -> torch.Tensor:
        made.append((rows.stop - rows.start) * (columns.stop - columns.start))
        return window(own, masks, rows, columns)

    monkeypatch.setattr(MaskGeometry, "window", noted)
    kept: dict[int, tuple[MaskCrop, torch.Tensor]] = {}
    way = MaskGeometry((96, 96), (96, 96), (192, 192))
    ask = (classes, logits, torch.tensor([True]), way)
    found = instances(*ask, score_threshold=0.5, made=kept)
    assert sorted(found.queries.tolist()) == [0, 1] and sum(made) < 2 * 70**2
    made.clear()
    again = instances(*ask, score_threshold=0.1, made=kept)
    assert not made and again.scores.tolist() == found.scores.tolist()
    assert [again.masks.rle(place) for place in range(2)] == [found.masks.rle(place) for place in range(2)]


def test_conversions_to_numpy() -> None:
    masks = InstanceMasks.of(np.ones((1, 2, 2), dtype=bool))
    assert np.asarray(masks, dtype=np.uint8).sum() == 4
    with pytest.raises(ValueError, match="always a copy"):
        np.array(masks, copy=False)
    with pytest.raises(IndexError):
        masks[1]
    with pytest.raises(TypeError, match="Index one mask first"):
        masks[0, 1]  # type: ignore[call-overload]


def test_masks_are_chosen_by_truth_values_as_in_an_array() -> None:
    dense = np.random.default_rng(0).random((3, 4, 5)) < 0.5
    chosen = np.array([True, False, True])
    np.testing.assert_array_equal(np.asarray(InstanceMasks.of(dense)[chosen]), dense[chosen])
    with pytest.raises(IndexError, match="length 2 does not match 3 masks"):
        InstanceMasks.of(dense)[chosen[:2]]


def test_a_large_photos_masks_are_small() -> None:
    mask = torch.zeros(3_000, 4_000, dtype=torch.bool)
    mask[200:2_800, 300:3_900] = True
    crop = MaskCrop.of(mask)
    assert crop.box == (300, 200, 3_900, 2_800) and crop.area == 2_600 * 3_600
    assert len(crop.counts) < 100, "the mask has 12 MB"


SIZES = [
    ((64, 96), (61, 90)),
    ((61, 90), (61, 90)),
    ((244, 360), (61, 90)),
    ((30, 31), (61, 90)),
    ((999, 17), (64, 96)),
]


@pytest.mark.parametrize(("output", "given"), SIZES)
def test_masks_made_in_their_boxes_are_those_of_the_whole(output: tuple[int, int], given: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.full((7, 16, 24), -1.0)
    for query, (y, x, size) in enumerate(((0, 0, 3), (13, 20, 4), (5, 9, 1), (0, 0, 24), (15, 0, 1), (7, 23, 1))):
        part = logits[query, y : y + size, x : x + size]
        part.copy_(torch.randn(part.shape, generator=generator))
    geometry = MaskGeometry((64, 96), given, output)
    scores = torch.randn(7, 4, generator=generator)
    found = instances(scores, logits, torch.tensor([True, True, True]), geometry)
    whole = torch.cat([band for _, band in geometry.bands(logits)], dim=1)
    inside = whole > 0
    assert sorted(set(found.queries.tolist())) == list(range(7))
    np.testing.assert_array_equal(np.asarray(found.masks), inside[found.queries].numpy())
    mean = (whole.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
    expected = scores.softmax(-1)[found.queries, found.labels] * mean[found.queries]
    torch.testing.assert_close(found.scores, expected)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_only_low_scores_are_dropped() -> None:
    logits = torch.randn(5, 8, 8, generator=torch.Generator().manual_seed(1))
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    geometry = MaskGeometry((32, 32), (32, 32), (32, 32))
    things = torch.tensor([True, False, True])
    everything = instances(scores, logits, things, geometry)
    some = instances(scores, logits, things, geometry, score_threshold=0.2)
    kept = int((everything.scores > 0.2).sum())
    assert 0 < kept < len(everything.scores)
    assert torch.equal(some.scores, everything.scores[:kept]) and torch.equal(some.queries, everything.queries[:kept])
    assert some.masks.crops == everything.masks.crops[:kept]
    none = instances(scores, logits, torch.zeros(3, dtype=torch.bool), geometry)
    assert none.masks.shape == (0, 32, 32) and not len(none.scores)


@pytest.mark.slow
def test_thirty_instances_of_twelve_megapixels_use_little_memory() -> None:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(1, 30, 4, 6, generator=generator)
    logits = torch.nn.functional.interpolate(coarse, (96, 128), mode="bilinear")[0]
    geometry = MaskGeometry((384, 512), (384, 512), (3_000, 4_000))
    scores = torch.zeros(30, 2)
    scores[:, 0] = 5.0
    with peak_memory() as peak:
        found = instances(scores, logits, torch.tensor([True]), geometry)
        painted = found.masks.painted()
    one = 12.0  # MB per mask
    assert len(found.masks) == 30 and painted.max() <= 30
    assert sum(crop.area for crop in found.masks.crops) > 5 * 12_000_000, "the masks are large"
    # The map (int32) twice, a crop and its transpose; all masks at once would need 30 more.
    assert peak[0] < (2 * 4 + 6) * one
    assert sum(len(crop.counts) for crop in found.masks.crops) < one * 1e6 / 10
