"""Colours, names and the overlay of `eovseg.overlay` and `eovseg.colours`."""

import itertools
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eovseg import colours as colours_module
from eovseg.colours import (
    as_seen,
    class_colour,
    colour_distance,
    free_colour,
    linear_rgb,
    segment_colours,
    segment_labels,
    text_colour,
)
from eovseg.errors import ConfigError
from eovseg.overlay import _drawable_name, _font_for, _LabelPlacer, draw_overlay


@dataclass(frozen=True)
class Piece:
    id: int
    label: str


def pieces(*labels: str) -> list[Piece]:
    return [Piece(number, label) for number, label in enumerate(labels, start=1)]


def blocks(rows: int, columns: int, size: int = 40) -> np.ndarray:
    """A map of equal squares, ids from 1."""
    return np.kron(np.arange(1, rows * columns + 1).reshape(rows, columns), np.ones((size, size), int)).astype(np.int32)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(colour_distance(as_seen(first), as_seen(second)))


# Names


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], []),
        (["sky"], ["sky"]),
        (["person", "sky", "person"], ["person 1", "sky", "person 2"]),
        (["bag", "bag", "bag"], ["bag 1", "bag 2", "bag 3"]),  # two classes of ADE20K-847 are called bag
        (["person", "person", "person 2"], ["person 1", "person 3", "person 2"]),
        (["person 1", "person", "person 1", "person"], ["person 1 1", "person 1", "person 1 2", "person 2"]),
    ],
)
def test_names_are_numbered_if_needed(labels: list[str], expected: list[str]) -> None:
    assert segment_labels(pieces(*labels)) == expected


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "a 1", "a 2", "a 1 1", "b"]), max_size=12))
def test_names_are_unique(labels: list[str]) -> None:
    names = segment_labels(pieces(*labels))
    assert len(set(names)) == len(labels)
    assert all(name.startswith(label) for name, label in zip(names, labels, strict=True))


# Colours


def test_a_word_has_its_colour_in_every_picture() -> None:
    street = segment_colours(pieces("sky", "road", "person", "car", "person"))
    beach = segment_colours(pieces("person", "sea", "Sky", "sand"))
    np.testing.assert_array_equal(street[0], beach[2])
    np.testing.assert_array_equal(street[2], beach[0])
    for label in ("sky", "person", "zeppelin", "天空"):
        np.testing.assert_array_equal(segment_colours(pieces(label))[0], class_colour(label))


def test_colours_are_the_same_in_every_process() -> None:
    words = ["sky", "zeppelin", "天空", "zeppelin"]
    program = "import sys; from eovseg.colours import *; from types import SimpleNamespace as S\n"
    program += "print(segment_colours([S(label=w) for w in sys.argv[1:]]).tolist())"
    root = Path(__file__).parent.parent
    printed = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    ).stdout
    assert printed.strip() == str(segment_colours(pieces(*words)).tolist())


def test_the_palette_works_for_all_kinds_of_colour_vision() -> None:
    palette = np.array([list(bytes.fromhex(entry)) for entry in colours_module._PALETTE], dtype=np.uint8)
    seen = as_seen(palette)
    gaps = [float(colour_distance(a, b)) for a, b in itertools.combinations(seen, 2)]
    assert len(palette) == 36
    assert min(gaps) > 0.035
    first = [float(colour_distance(a, b)) for a, b in itertools.combinations(seen[:12], 2)]
    assert min(first) > 0.07


def test_every_word_has_one_colour() -> None:
    words = [word for entry in colours_module._PALETTE.values() for word in entry.split(", ")]
    assert len(words) == len(set(words))
    assert words == [word.casefold() for word in words]


def test_neighbours_have_distant_colours() -> None:
    for scene in (
        ["sky", "building", "tree", "road", "car", "person", "grass", "sidewalk"],
        ["wall", "floor", "ceiling", "table", "chair", "window", "bed", "person", "cabinet"],
        ["sky", "sea", "sand", "person", "boat", "surfboard"],
        ["grass", "zebra", "sky", "elephant", "giraffe", "tree"],
    ):
        for first, second in itertools.combinations(scene, 2):
            assert distance(class_colour(first), class_colour(second)) > 0.045, (first, second)


def test_the_simulation_of_two_vision_types() -> None:
    red, green = np.array([205, 60, 40], dtype=np.uint8), np.array([110, 110, 30], dtype=np.uint8)
    apart = np.sqrt(((as_seen(red) - as_seen(green)) ** 2).sum(-1))
    assert apart[2] < 0.6 * apart[0]  # a red and an olive look similar with deuteranopia
    grey = as_seen(np.full(3, 128, dtype=np.uint8))
    np.testing.assert_allclose(grey[:, 1:], 0, atol=1e-3)
    np.testing.assert_allclose(grey[:, 0], 0.5999, atol=1e-3)  # OKLab lightness of #808080


def test_instances_of_a_class_have_different_colours() -> None:
    drawn = segment_colours(pieces(*["person"] * 6))
    np.testing.assert_array_equal(drawn[0], class_colour("person"))
    for first, second in itertools.combinations(drawn, 2):
        assert distance(first, second) >= 0.045


def test_words_that_share_a_palette_entry_differ_in_one_picture() -> None:
    assert (class_colour("car") == class_colour("chair")).all()
    car, chair = segment_colours(pieces("car", "chair"))
    assert distance(car, chair) >= colours_module.CLASS_DISTANCE


def test_an_added_segment_gets_a_new_colour_and_the_others_keep_theirs() -> None:
    taken: list[tuple[str, np.ndarray]] = []
    for word in ("person", "person", "sky", "people", "person", "car"):
        colour = free_colour(word, taken)
        assert all(distance(colour, other) >= 0.02 for _, other in taken)
        taken.append((word, colour))
    assert (taken[0][1] == class_colour("person")).all() and (taken[2][1] == class_colour("sky")).all()


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), max_size=15))
def test_any_words_get_colours(labels: list[str]) -> None:
    drawn = segment_colours(pieces(*labels))
    assert drawn.shape == (len(labels), 3)
    assert drawn.dtype == np.uint8


@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_text_has_a_contrast_of_at_least_4_5(colour: tuple[int, int, int]) -> None:
    plate = np.array(colour, dtype=np.uint8)
    weights = np.array([0.2126, 0.7152, 0.0722])
    lights = sorted(float(linear_rgb(np.array(c)) @ weights) + 0.05 for c in (text_colour(plate), plate))
    assert lights[1] / lights[0] >= 4.5


# The picture


def test_opacity_zero_is_the_photo_and_one_is_flat() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    segments = pieces("sky", "road", "car", "tree", "person", "bus")
    ids = blocks(2, 3)
    np.testing.assert_array_equal(np.asarray(draw_overlay(photo, ids, segments, 0, labels=False)), photo)
    flat = np.asarray(draw_overlay(photo, ids, segments, 1, labels=False))
    np.testing.assert_array_equal(flat[20::40, 20::40].reshape(-1, 3), segment_colours(segments))
    half = np.asarray(draw_overlay(photo, ids, segments, 0.5, labels=False)).astype(int)
    mixed = (photo.astype(int) + flat) // 2
    assert np.abs(half - mixed)[5:35, 5:35].max() <= 1


def test_borders_lie_between_segments_only() -> None:
    photo = np.zeros((80, 120, 3), dtype=np.uint8)
    ids = blocks(2, 3)
    drawn = np.asarray(draw_overlay(photo, ids, pieces(*"abcdef"), 0.5, labels=False)).astype(int).sum(-1)
    bright = drawn > 2 * drawn[20, 20]
    assert bright[40, 5:35].all()
    assert bright[5:35, 40].all()
    inside = ~np.pad(ids[1:] != ids[:-1], ((1, 0), (0, 0))) & ~np.pad(ids[:, 1:] != ids[:, :-1], ((0, 0), (1, 0)))
    assert not bright[inside].any()


def test_colours_can_be_given() -> None:
    given = np.array([[1, 2, 3], [200, 100, 50]], dtype=np.uint8)
    ids = np.repeat(np.arange(1, 3, dtype=np.int32), 40)[None].repeat(40, axis=0)
    image = np.zeros((*ids.shape, 3), dtype=np.uint8)
    picture = np.array(draw_overlay(image, ids, pieces("sky", "road"), 1.0, labels=False, colours=given))
    assert (picture[20, 20] == given[0]).all() and (picture[20, 60] == given[1]).all()


def test_pixels_without_a_segment_do_not_change() -> None:
    photo = np.full((40, 80, 3), 90, dtype=np.uint8)
    ids = blocks(1, 2)
    ids[ids == 2] = 0
    ids[5:10, 60:70] = 77  # an id without a segment
    ids[12:14, 60:70] = -1
    drawn = np.asarray(draw_overlay(photo, ids, pieces("sky"), 0.7))
    assert (drawn[:, 40:] == 90).all()
    assert (drawn[:, :40] != 90).any()


def test_highlight_dims_the_rest() -> None:
    photo = np.full((40, 120, 3), (200, 40, 40), dtype=np.uint8)
    ids = blocks(1, 3)
    segments = pieces("sky", "car", "tree")
    plain = np.asarray(draw_overlay(photo, ids, segments, 0.5, labels=False))
    lit = np.asarray(draw_overlay(photo, ids, segments, 0.5, labels=False, highlight={2}))
    np.testing.assert_array_equal(lit[5:35, 45:75], plain[5:35, 45:75])
    rest = lit[5:35, 5:35]
    assert (rest == rest[..., :1]).all()  # grey
    assert rest.mean() < photo.mean()
    none = np.asarray(draw_overlay(photo, ids, segments, 0.5, labels=False, highlight=set()))
    np.testing.assert_array_equal(none, plain)


def test_a_highlighted_speck_is_named() -> None:
    photo = np.zeros((200, 300, 3), dtype=np.uint8)
    ids = np.zeros((200, 300), dtype=np.int32)
    ids[100:106, 150:156] = 1
    unnamed = np.asarray(draw_overlay(photo, ids, pieces("bird"), 0.5))
    named = np.asarray(draw_overlay(photo, ids, pieces("bird"), 0.5, highlight={1}))
    assert (unnamed.any(-1) == (ids == 1)).all()
    assert named.any(-1).sum() > 4 * (ids == 1).sum()


def test_labels_are_inside_and_do_not_overlap() -> None:
    ids = blocks(3, 4, 100).astype(np.int16)
    placer = _LabelPlacer(ids)
    assert sorted(placer.by_area) == list(range(12))
    places = [placer.place(index, (60, 20), everywhere=False) for index in placer.by_area]
    for index, corner in zip(placer.by_area, places, strict=True):
        assert corner is not None
        row, column = divmod(index, 4)
        assert abs(corner[0] + 30 - (column * 100 + 50)) <= 3
        assert abs(corner[1] + 10 - (row * 100 + 50)) <= 3


def test_a_label_moves_when_its_place_is_taken() -> None:
    ids = np.ones((100, 400), dtype=np.int16)
    ids[40:60, 190:210] = 2  # in the middle of the other one
    placer = _LabelPlacer(ids)
    taken: list[tuple[int, int, int, int]] = []
    for index in (0, 1, 0, 0):
        corner = placer.place(index, (50, 20), everywhere=True)
        assert corner is not None
        for x, y, _, _ in taken:
            assert abs(x - corner[0]) >= 50 or abs(y - corner[1]) >= 20
        taken.append((*corner, 50, 20))
    assert placer.place(1, (50, 20), everywhere=False) is None  # too small for a label


def test_a_label_sits_in_the_larger_part_of_a_segment() -> None:
    ids = np.zeros((100, 300), dtype=np.int16)
    ids[10:20, 10:40] = 1
    ids[30:90, 150:290] = 1
    corner = _LabelPlacer(ids).place(0, (40, 16), everywhere=False)
    assert corner is not None
    assert 160 < corner[0] < 260
    assert 35 < corner[1] < 75


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3), (30, 1500), (700, 20)])
def test_any_size_can_be_drawn(shape: tuple[int, int]) -> None:
    photo = np.zeros((*shape, 3), dtype=np.uint8)
    drawn = draw_overlay(photo, np.ones(shape, dtype=np.int32), pieces("sky"), 0.5, highlight={1})
    assert drawn.size == shape[::-1]


def test_drawing_in_bands_does_not_change_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (200, 120, 3), dtype=np.uint8)
    ids = blocks(5, 3)
    segments = pieces(*"abcdefghijklmno")
    monkeypatch.setattr("eovseg.overlay._line_width", lambda shape: 3)
    whole = np.asarray(draw_overlay(photo, ids, segments, 0.5, highlight={3, 8}))
    monkeypatch.setattr("eovseg.overlay._BAND_PIXELS", 120 * 7)
    np.testing.assert_array_equal(np.asarray(draw_overlay(photo, ids, segments, 0.5, highlight={3, 8})), whole)


@pytest.mark.parametrize("label", ["天空", "😀🎉", "שמיים", "<b>", "é", "x" * 200, "\u200d", "क्षेत्र"])
def test_any_script_is_drawn_or_replaced_by_a_number(label: str) -> None:
    text = _drawable_name(label, 12)
    assert text in (label, "#12") or text == "x" * 25 + "..."
    drawn = draw_overlay(np.zeros((90, 300, 3), np.uint8), np.full((90, 300), 12), [Piece(12, label)], 0.5)
    assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) > 3


def test_letters_without_a_font_become_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eovseg.overlay._system_fonts", lambda: ())
    _font_for.cache_clear()
    assert _drawable_name("\U000131f8\U000131f8", 3) == "#3"  # hieroglyphs
    assert _drawable_name("sky", 3) == "sky"


def test_misuse_gets_one_sentence() -> None:
    photo, ids = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.int32)
    with pytest.raises(ConfigError, match=r"between 0 and 1, not 1\.5"):
        draw_overlay(photo, ids, pieces("sky"), 1.5)
    with pytest.raises(ConfigError, match="must match"):
        draw_overlay(photo, ids[:3], pieces("sky"), 0.5)
    with pytest.raises(ConfigError, match="16,777,215"):
        draw_overlay(photo, ids, [Piece(2**24, "sky")], 0.5)


def test_thirty_segments_are_drawn_quickly() -> None:
    photo = np.zeros((480, 640, 3), dtype=np.uint8)
    ids = blocks(5, 6, 107)[:480, :640]
    segments = pieces(*(f"word {number % 9}" for number in range(30)))
    draw_overlay(photo, ids, segments, 0.5)
    spent = []
    for _ in range(5):
        start = time.process_time()
        draw_overlay(photo, ids, segments, 0.5)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.1


def test_the_picture_is_rgb() -> None:
    drawn = draw_overlay(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.int32), pieces("sky"))
    assert isinstance(drawn, Image.Image)
    assert drawn.mode == "RGB"
