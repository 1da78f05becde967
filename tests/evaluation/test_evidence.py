"""Verdicts on segments, on maps that can be checked by eye, and the HTML report that shows them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import ConfigError
from eovseg.evaluation import html_report
from eovseg.evaluation.categories import Truth
from eovseg.evaluation.evaluate import Evaluator
from eovseg.evaluation.evidence import JudgedSegment, PhotoEvidence, photo_evidence
from eovseg.evaluation.panoptic_quality import match_segments
from eovseg.evaluation.report import Report
from eovseg.model.config import variant_config
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("person: thing; sky, clouds: stuff; lamp: thing; zebra: thing")
PERSON, SKY, LAMP, ZEBRA = range(4)


def row(text: str) -> np.ndarray:
    """A map of four equal lines; digits are ids, and dots are 0."""
    return np.array([[0 if char == "." else int(char) for char in text]] * 4, dtype=np.int32)


def result_of(segment_map: np.ndarray, classes: dict[int, int]) -> Result:
    segments = tuple(
        Segment(i, c, WORDS.labels[c], bool(WORDS.is_thing[c]), 0.5 + i / 100, 0.5, 0.5, 1, (0, 0, 1, 1))
        for i, c in classes.items()
    )
    return Result(np.zeros((*segment_map.shape, 3), np.uint8), segment_map, segments, WORDS)


def judged(
    predicted: str, predicted_classes: dict[int, int], true: str, true_classes: dict[int, int], *crowd: int
) -> PhotoEvidence:
    result, truth = result_of(row(predicted), predicted_classes), Truth(row(true), true_classes, frozenset(crowd))
    matching = match_segments(result.segment_map, predicted_classes, truth.segment_map, true_classes, crowd)
    return photo_evidence("a.jpg", truth, result, matching)


def verdicts(side: tuple[JudgedSegment, ...]) -> list[tuple[str, int]]:
    return [(one.verdict, one.partner) for one in side]


@pytest.mark.parametrize(
    ("predicted", "classes", "true", "true_classes", "expected", "expected_true"),
    [
        ("1111....", {1: PERSON}, "2222....", {2: PERSON}, [("right", 2)], [("right", 1)]),
        ("1111....", {1: LAMP}, "2222....", {2: PERSON}, [("wrong name", 2)], [("wrong name", 1)]),
        ("11......", {1: PERSON}, "2222....", {2: PERSON}, [("bad mask", 2)], [("bad mask", 1)]),
        ("1.......", {1: PERSON}, "22222222", {2: LAMP}, [("invented", 0)], [("missed", 0)]),
        ("....1111", {1: PERSON}, "2222333.", {2: LAMP, 3: SKY},
         [("wrong name", 3)], [("missed", 0), ("wrong name", 1)]),
        # A second segment on an object that was already found.
        ("11113...", {1: PERSON, 3: PERSON}, "22222...", {2: PERSON}, [("right", 2), ("invented", 0)], [("right", 1)]),
        # A segment mostly on unlabelled pixels.
        ("1111....", {1: PERSON}, "2.......", {2: LAMP}, [("not judged", 0)], [("missed", 0)]),
        ("........", {}, "2222....", {2: LAMP}, [], [("missed", 0)]),
    ],
)  # fmt: skip
def test_verdicts(
    predicted: str,
    classes: dict[int, int],
    true: str,
    true_classes: dict[int, int],
    expected: list[tuple[str, int]],
    expected_true: list[tuple[str, int]],
) -> None:
    found = judged(predicted, classes, true, true_classes)
    assert verdicts(found.predicted) == expected
    assert verdicts(found.true) == expected_true


def test_crowds_are_not_judged_and_iou_is_that_of_pq() -> None:
    found = judged("111144..", {1: PERSON, 4: SKY}, "2233344.", {2: PERSON, 3: PERSON, 4: SKY}, 3)
    assert verdicts(found.true)[1] == ("not judged", 0)
    sky = found.predicted[1]
    assert (sky.verdict, sky.iou) == ("bad mask", pytest.approx(1 / 3))
    assert sum(pixels for _, _, pixels in found.confusion) == 32
    assert (SKY, -1, 4) in found.confusion, "half of the true sky has no predicted class"


def test_quality_is_pq_over_all_segments() -> None:
    found = judged("1111.2..", {1: PERSON, 2: LAMP}, "33344444", {3: PERSON, 4: SKY})
    assert found.quality == pytest.approx(0.75 / (1 + 1 / 2 + 1 / 2))
    assert np.isnan(judged("....", {}, "....", {}).quality)


def drawn(path: str, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a path, filled by the even-odd rule."""
    picture = np.zeros(size[::-1], dtype=int)
    for loop in re.findall(r"M(\d+) (\d+)([^z]*)z", path):
        x, y = int(loop[0]), int(loop[1])
        points = [(x, y)]
        for kind, length in re.findall(r"([hv])(-?\d+)", loop[2]):
            x, y = (x + int(length), y) if kind == "h" else (x, y + int(length))
            points.append((x, y))
        part = Image.new("1", (size[0] * 4, size[1] * 4))
        ImageDraw.Draw(part).polygon([(4 * px - 0.5, 4 * py - 0.5) for px, py in points], fill=1)
        picture += np.asarray(part)[2::4, 2::4]
    return picture % 2


def test_outlines_include_holes() -> None:
    found = judged("1221....", {1: PERSON, 2: SKY}, "33333333", {3: SKY})
    for one, segment in zip(found.predicted, (1, 2), strict=True):
        np.testing.assert_array_equal(drawn(one.path, found.size), row("1221....") == segment)
    large = np.zeros((900, 1200), dtype=np.int32)
    large[100:800, 100:1100] = 1
    large[300:500, 300:600] = 0
    result = result_of(large, {1: PERSON})
    truth = Truth(large, {1: PERSON}, frozenset())
    evidence = photo_evidence("b.jpg", truth, result, match_segments(large, {1: PERSON}, large, {1: PERSON}))
    assert evidence.size == (300, 225)
    assert drawn(evidence.predicted[0].path, evidence.size).mean() == pytest.approx((large > 0).mean(), abs=0.01)


@pytest.fixture
def report(panoptic_folder: Path) -> tuple[Report, PanopticFolder]:
    """Two photos: the first is completely right, and in the second, the person is called a zebra."""
    folder = PanopticFolder(panoptic_folder)
    evaluator = Evaluator(folder, WORDS, np.array([True, True, False, False]), ["panoptic"], with_evidence=True)
    for photo, person in zip(folder.photos, (PERSON, ZEBRA), strict=True):
        truth = evaluator.truth(photo)
        classes = {i: person if c == PERSON else c for i, c in truth.classes.items() if i not in truth.crowd}
        segment_map = np.where(truth.segment_map == 2, 0, truth.segment_map).astype(np.int32)
        evaluator.add(photo.file_name, truth, {"panoptic": result_of(segment_map, classes)})
    config = variant_config("xs")
    return evaluator.report(config, Settings().completed(config)), folder


def data_of(folder: Path) -> Any:
    script = (folder / "data.js").read_text(encoding="ascii")
    return json.loads(script.removeprefix("const REPORT = ").removesuffix(";\n"))


def test_the_report_contains_all_measurements(report: tuple[Report, PanopticFolder], tmp_path: Path) -> None:
    made, folder = report
    page = html_report.write(made, folder, folder.photos, tmp_path / "out")
    assert page.name == "index.html" and {path.name for path in page.parent.iterdir()} == {
        "index.html", "data.js", "photos",
    }  # fmt: skip
    data = data_of(page.parent)
    assert [photo["name"] for photo in data["shown"]] == ["2.png", "1.png"], "worst first"
    assert [segment[2] for segment in data["shown"][0]["predicted"]].count("wrong name") == 1
    assert data["classes"][ZEBRA]["false positives"] == 1 and data["summary"][0]["name"] == "PQ"
    assert sum(data["reliability"]["count"]) == sum(len(photo["predicted"]) for photo in data["shown"])
    assert sum(pixels for *_, pixels in data["confusion"]) == 2 * 8 * 12
    assert sum(pixels for true, _, pixels in data["confusion"] if true == -1) == 2 * 8 * 2, "unlabelled is a row"
    for number in (0, 1):
        with Image.open(page.parent / "photos" / f"{number}.jpg") as photo:
            assert photo.size == (12, 8)
    html_report.write(made, folder, folder.photos[:], tmp_path / "out")  # an earlier report is replaced
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="contains other files"):
        html_report.write(made, folder, folder.photos, tmp_path / "mine")


def test_the_report_contains_no_local_paths_and_no_tags(
    report: tuple[Report, PanopticFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, folder = report
    evil = "</script><img src=x onerror=alert(1)>"
    object.__setattr__(made, "labels", (evil, *made.labels[1:]))
    html_report.write(made, folder, folder.photos, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.suffix in (".html", ".js"):
            text = path.read_text(encoding="utf-8")
            assert str(tmp_path) not in text and str(Path.home()) not in text and evil not in text
            assert not re.search(r"https?://(?!www\.w3\.org)", text), "no network requests"
    assert data_of(tmp_path / "out")["labels"][0] == evil


@pytest.mark.browser
def test_a_reader_finds_the_error_behind_a_number(
    report: tuple[Report, PanopticFolder], browser: Any, tmp_path: Path
) -> None:
    made, folder = report
    evil = "<b>person</b>"
    object.__setattr__(made, "labels", (evil, *made.labels[1:]))
    page = html_report.write(made, folder, folder.photos, tmp_path / "out")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab, asked, errors = context.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    tab.goto(page.as_uri())
    tab.wait_for_selector("body[data-ready]")
    assert tab.inner_text(".tiles + .note") == (
        "Ranges are 95 % intervals over photos (bootstrap). "
        "Warning: 2 photos are too few for reliable intervals; use at least 20."
    )
    assert tab.inner_text(".numbers tr:first-child").split("\t")[-1] == "95 % interval over photos"
    shares = [tab.evaluate(f"percent({share})") for share in ("0", "0.004", "0.0004, 1", "0.006")]
    assert shares == ["0 %", "under 1 %", "under 0.1 %", "1 %"]
    assert tab.locator(".card").count() == 2 and tab.locator(".fates li").count() == 5
    first = "document.querySelector('.classes tbody th').textContent"
    tab.click(".classes thead button >> text=Class")
    assert tab.evaluate(first) == evil and tab.locator(".classes th b").count() == 0
    tab.click(".classes thead button >> text=Class")
    assert tab.evaluate(first) == "zebra"
    tab.click(".classes tbody tr:first-child td:nth-last-child(2) a")  # its one wrong segment
    tab.wait_for_function("document.querySelectorAll('.card').length === 1")
    assert tab.inner_text(".chosen").startswith("1 of 2 photos with “zebra” predicted wrongly")
    tab.click(".card")
    tab.wait_for_selector(".viewer[data-shown]")
    assert "2.png" in tab.inner_text(".viewer h2")
    rows = [text.split("\n") for text in tab.locator(".viewer .predicted li").all_inner_texts()]
    assert ["zebra", "wrong name"] in [row[:2] for row in rows]
    assert f"is {evil}" in next(row for row in rows if row[0] == "zebra")[2]
    tab.hover(".viewer .predicted li >> text=zebra")
    assert tab.locator(".viewer .true path.on").count() == 1, "its partner on the other side is highlighted"
    tab.keyboard.press("Escape")
    tab.click(".diagram a >> nth=0")
    tab.wait_for_function("location.hash.startsWith('#bin=')")
    tab.click(".matrix tbody tr:first-child a >> nth=0")
    tab.wait_for_function("location.hash.includes('from=')")
    context.close()
    assert errors == [] and all(url.startswith("file:") for url in asked)
