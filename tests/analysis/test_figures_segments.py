"""Figures of results name every segment, and show and list the changes between two results."""

from typing import Any

import numpy as np
import pytest

from analysis.ablation import compare_results
from analysis.figures_segments import _number_places, ablation_figure, labelled_figure, panoptic_figure
from analysis.style import CHANGE_COLOURS
from eovseg.colours import class_colour, segment_colours
from tests.analysis.conftest import MakeResult, texts

BEFORE = np.array([[1, 1, 2, 2]] * 4)
AFTER = np.array([[1, 1, 0, 0]] * 4)


def colours_of(legend: Any) -> dict[str, tuple[float, ...]]:
    return {
        text.get_text(): tuple(patch.get_facecolor()[:3])
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }


def test_changes_are_listed_and_numbered_largest_first(make_result: MakeResult) -> None:
    segment_map = np.array([[1, 1, 1, 2]] * 4)
    off, on = make_result(segment_map, [0, 1]), make_result(np.where(segment_map == 2, 0, 1), [2])
    figure = ablation_figure(off, on, compare_results(off, on))
    first, second, picture, listed = figure.axes
    assert (first.get_title(), second.get_title()) == ("TDEE switched off", "TDEE on")
    assert [text.get_text() for text in listed.texts] == [
        "change", "without", "with", "IoU",
        "1", "renamed", "bus", "sky", "1.00",
        "2", "gone", "person", "–", "–",
    ]  # fmt: skip
    assert {text.get_text() for text in picture.texts} == {"1", "2"}
    assert any("gone, new: no counterpart with an IoU of at least 0.5" in text for text in texts(figure))
    swatches = [patch.get_facecolor()[:3] for patch in listed.patches]
    assert [tuple(np.rint(np.array(colour) * 255)) for colour in swatches] == [
        tuple(bytes.fromhex(CHANGE_COLOURS[kind][1:])) for kind in ("renamed", "gone")
    ]


def test_only_changed_segments_are_coloured(make_result: MakeResult) -> None:
    off, on = make_result(BEFORE, [0, 1]), make_result(AFTER, [0])
    shown = ablation_figure(off, on, compare_results(off, on)).axes[2].images[0].get_array()
    grey = np.ptp(np.asarray(shown), axis=2) < 1e-6
    assert grey[:, 0].all() and not grey[:, 3].any()


def test_no_change_is_reported(make_result: MakeResult) -> None:
    off = make_result(BEFORE, [0, 1])
    figure = ablation_figure(off, off, compare_results(off, off))
    assert "no segment changed" in texts(figure) and len(figure.axes) == 2


def test_a_long_list_tells_how_many_are_omitted(make_result: MakeResult) -> None:
    off = make_result(np.arange(1, 31).reshape(5, 6).repeat(4, 0).repeat(4, 1), [0] * 30)
    nothing = make_result(np.zeros((20, 24), int), [])
    figure = ablation_figure(off, nothing, compare_results(off, nothing))
    listed = [text.get_text() for text in figure.axes[3].texts]
    shown = listed.count("gone")
    assert 6 <= shown < 30 and listed[-1] == f"and {30 - shown} smaller ones"


def test_numbers_are_inside_wide_regions_and_beside_narrow_ones() -> None:
    owner = np.zeros((100, 200), int)
    owner[20:80, 20:80] = 1
    owner[50, 150] = owner[50, 152] = 2  # two pixels
    owner[52, 151] = 3
    places = _number_places(owner)
    assert places[1][0] == places[1][1] and owner[tuple(places[1][0])[::-1]] == 1
    for number in (2, 3):
        (x, y), written = places[number]
        assert owner[int(y), int(x)] == number and written != (x, y)
    assert np.hypot(*np.subtract(places[2][1], places[3][1])) > 10, "two numbers do not lie on each other"


def test_every_segment_is_named_in_its_colour(make_result: MakeResult) -> None:
    tiny = np.ones((40, 60), int)
    tiny[0, 0], tiny[5, 5] = 2, 3
    results = [make_result(tiny, [2, 1, 1]), make_result(np.ones((60, 40), int), [0]), make_result(BEFORE, [0, 2])]
    figure = panoptic_figure(results)
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert [list(colours_of(legend)) for legend in legends] == [
        ["sky", "person 1", "person 2"],
        ["bus"],
        ["bus", "sky"],
    ]
    for legend, result in zip(legends, results, strict=True):
        expected = dict(zip(result.names, segment_colours(result.segments) / 255, strict=True))
        for name, colour in colours_of(legend).items():
            assert colour == pytest.approx(tuple(expected[name]), abs=1e-6)


def test_many_segments_and_no_segments_are_reported(make_result: MakeResult) -> None:
    many = make_result(np.arange(1, 31).reshape(5, 6), [0] * 30)
    nothing = make_result(np.zeros((5, 6), int), [])
    legends = [axis.get_legend() for axis in panoptic_figure([many, nothing]).axes if axis.get_legend()]
    names = [text.get_text() for text in legends[0].get_texts()]
    assert len(names) == 25 and names[-1] == "and 6 smaller ones"
    assert [text.get_text() for text in legends[1].get_texts()] == ["no segment"]


def test_labels_have_a_key_of_their_colours() -> None:
    segment_map = np.array([[0, 1, 1], [2, 2, 2]])
    words = {1: "sky", 2: "$x$ $\\frac", 3: "not drawn"}
    figure = labelled_figure({"photo": np.zeros((2, 3, 3), np.uint8), "drawn": segment_map}, words)
    figure.draw_without_rendering()  # a dollar sign in a word does not start a formula
    assert [axis.get_title() for axis in figure.axes] == ["photo", "drawn"]
    key = colours_of(figure.legends[0])
    assert list(key) == ["sky", "$x$ $\\frac", "unlabelled"]
    assert key["sky"] == pytest.approx(tuple(class_colour("sky") / 255))
    shown = np.asarray(figure.axes[1].images[0].get_array()) / 255
    assert [tuple(shown[0, x]) for x in (0, 1)] == [pytest.approx(key[name]) for name in ("unlabelled", "sky")]
    whole = labelled_figure({"drawn": np.array([[1, 2]])}, {1: "sky", 2: "sea"})
    assert list(colours_of(whole.legends[0])) == ["sky", "sea"]


def test_the_key_names_the_words_of_results_too(make_result: MakeResult) -> None:
    result = make_result(BEFORE, [0, 1])
    figure = labelled_figure({"drawn": np.array([[1, 2]]), "result": result}, {1: "sky", 2: "person"})
    key = colours_of(figure.legends[0])
    assert list(key) == ["sky", "person", "bus"]
    tints = np.asarray(figure.axes[1].images[0].get_array(), float)[0, [0, 3]] - result.image[0, [0, 3]] / 2
    assert tints == pytest.approx(np.array([key["bus"], key["person"]]) * 127.5, abs=2)
