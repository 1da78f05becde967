"""Cut-outs, spotlight, backgrounds and outlines on drawn results: only the subject keeps the photo's pixels."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eovseg.background import OTHER
from eovseg.errors import ConfigError
from eovseg.formats import PICTURES
from eovseg.pictures import blurred_background, cutout, soft_edges
from eovseg.result import Result
from tests.formats.shapes import NASTY, VOCABULARY, noise, result_of

SIZE = (60, 80)


def disc(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


@pytest.fixture
def result() -> Result:
    """Two cats, one of them in front of the sky."""
    cat, other, sky = disc(20, 40, 10), disc(60, 40, 8), np.zeros(SIZE, dtype=bool)
    sky[:20] = True
    made = result_of([cat, sky, other])
    return replace(made, segments=tuple(replace(s, class_id=c, label=VOCABULARY.labels[c], is_thing=c == 0)
                   for s, c in zip(made.segments, (0, 1, 0), strict=True)))  # fmt: skip


@pytest.mark.parametrize("name", [*NASTY, "noise"])
def test_above_one_half_is_exactly_the_mask(name: str) -> None:
    mask = noise(2) if name == "noise" else NASTY[name]
    opacity = soft_edges(mask)
    np.testing.assert_array_equal(opacity > 0.5, mask)
    assert opacity.min() >= 0 and opacity.max() <= 1


def test_an_empty_and_a_full_mask() -> None:
    assert soft_edges(np.zeros((3, 4), bool)).max() == 0 and soft_edges(np.ones((3, 4), bool)).min() == 1
    assert cutout(np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), bool)).size == (1, 1)


def test_a_cutout_contains_only_the_segment(result: Result) -> None:
    picture = result.cutout(1)
    x0, y0, x1, y1 = result.segments[0].box
    assert (picture.mode, picture.size) == ("RGBA", (x1 - x0 + 2, y1 - y0 + 2))
    pixels, here = np.asarray(picture), (slice(y0 - 1, y1 + 1), slice(x0 - 1, x1 + 1))
    inside = result.mask(0)[here]
    np.testing.assert_array_equal(pixels[..., 3] > 127, inside)
    np.testing.assert_array_equal(pixels[inside][:, :3], result.image[here][inside])
    hidden = pixels[..., 3] == 0
    assert hidden.any() and not pixels[hidden].any(), "invisible pixels are not in the file"


def test_several_segments_and_all_of_them(result: Result) -> None:
    assert result.cutout([1, 3]).width > result.cutout(1).width + result.cutout(3).width
    assert list(result.cutouts()) == ["cat 1", "blue & sky", "cat 2"]
    with pytest.raises(ConfigError, match=r"^There is no segment 7; the ids are 1, 2, 3\.$"):
        result.cutout([1, 7])
    with pytest.raises(ConfigError, match="not as str"):
        result.cutout("cat 1")  # type: ignore[arg-type]
    assert result.cutout(result.segment_map.max()).size == result.cutout(3).size, "ids of the map are NumPy integers"


@pytest.mark.parametrize("picture", ["spotlight", "grey_background", "blurred_background"])
def test_only_the_rest_changes(result: Result, picture: str) -> None:
    drawn = np.asarray(getattr(result, picture)(3)).astype(int)
    subject = result.mask(2)
    deep = soft_edges(subject) == 1
    np.testing.assert_array_equal(drawn[deep], result.image[deep])
    rest, before = drawn[:, :30], result.image[:, :30].astype(int)
    assert np.abs(rest - before).mean() > 20
    assert {
        "spotlight": rest.mean() < 0.4 * before.mean(),
        "grey_background": (rest.max(-1) == rest.min(-1)).all(),
        "blurred_background": rest.std() < 0.5 * before.std(),
    }[picture]


def test_things_are_the_subject_unless_words_are_named(result: Result) -> None:
    assert result.subject_ids() == [1, 3]
    assert replace(result, subject=("blue & sky",)).subject_ids() == [2]
    only_sky = replace(result, segments=result.segments[1:2])
    assert only_sky.subject_ids() == [2], "without things, all segments are the subject"
    rest = (*result.segments[:2], replace(result.segments[2], label=OTHER))
    other = replace(result, background=result.segments[2:], segments=rest)
    assert other.subject_ids() == [1] and list(other.cutouts()) == ["cat", "blue & sky"]


def test_no_colour_of_the_subject_bleeds_into_the_blur() -> None:
    image = np.full((*SIZE, 3), (20, 120, 20), dtype=np.uint8)
    mask = disc(40, 30, 12)
    image[mask] = (255, 0, 0)
    behind = np.asarray(blurred_background(image, mask, 4))[soft_edges(mask) == 0].astype(int)
    assert np.abs(behind - [20, 120, 20]).max() <= 3
    with pytest.raises(ConfigError, match="between 0 and 4"):
        blurred_background(image, mask, 5)


def test_outlines_alone(result: Result) -> None:
    white = np.asarray(result.outlines())
    lines = (white != 255).any(-1)
    assert 0.02 < lines.mean() < 0.25 and not lines[result.segment_map == 0].any()
    assert white[lines].astype(float).mean() < 150, "dark enough for white paper"
    clear = np.asarray(result.outlines("transparent"))
    np.testing.assert_array_equal(clear[..., 3] > 0, lines)
    photo = np.asarray(result.outlines("photo"))
    np.testing.assert_array_equal(photo[~lines], result.image[~lines])
    with pytest.raises(ConfigError, match='on white, photo, transparent, not on "glass"'):
        result.outlines("glass")  # type: ignore[arg-type]


def test_files(result: Result, tmp_path: Path) -> None:
    written = {path.name: path for path in result.save(tmp_path, formats=PICTURES)}
    with zipfile.ZipFile(written["photo-cutouts.zip"]) as packed:
        assert packed.namelist() == ["01 cat 1.png", "02 blue _ sky.png", "03 cat 2.png"]
        with Image.open(io.BytesIO(packed.read("03 cat 2.png"))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(result.cutout(3)))
    assert written["photo-cutouts.zip"].read_bytes() == PICTURES["cutouts"].content(result, None, tmp_path)  # type: ignore[arg-type]
    for kind in ("spotlight", "blurred", "grey", "outlines"):
        with Image.open(written[f"photo-{kind}.png"]) as picture:
            assert picture.size == SIZE[::-1]


def test_instances_that_overlap_are_cut_out_whole() -> None:
    overlapping = result_of([NASTY["everything"], NASTY["everything"]], overlapping=True)
    assert [np.asarray(picture)[..., 3].min() for picture in overlapping.cutouts().values()] == [255, 255]
    assert overlapping.outlines().size == (4, 2)
