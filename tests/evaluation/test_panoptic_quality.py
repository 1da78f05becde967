"""Panoptic quality compared with manually checked maps and with hotcoco."""

from pathlib import Path

import numpy as np
import pytest
from hotcoco.panoptic import PanopticEval

from eovseg.errors import DataError
from eovseg.evaluation.panoptic_quality import PanopticQuality, match_segments
from tests.data.trees import panoptic

CLASSES = 4
IS_THING = np.array([True, True, False, False])


def segment_map(text: str) -> np.ndarray:
    """A map from digits, 0 = void or no segment."""
    return np.array([[int(digit) for digit in line] for line in text.split()])


@pytest.mark.parametrize(
    ("predicted", "predicted_classes", "true", "true_classes", "crowd", "counts", "iou"),
    [
        pytest.param("1111", {1: 0}, "1111", {1: 0}, [], (1, 0, 0), 1.0, id="same"),
        pytest.param("1111", {1: 1}, "1111", {1: 0}, [], (0, 1, 1), 0.0, id="wrong class"),
        pytest.param("1100", {1: 0}, "1111", {1: 0}, [], (0, 1, 1), 0.0, id="IoU of exactly a half is no match"),
        pytest.param("1110", {1: 0}, "1111", {1: 0}, [], (1, 0, 0), 0.75, id="three quarters"),
        pytest.param("1111", {1: 0}, "1110", {1: 0}, [], (1, 0, 0), 1.0, id="void leaves the union"),
        pytest.param("1111", {1: 0}, "1100", {1: 1}, [], (0, 1, 1), 0.0, id="half on void is not forgiven"),
        pytest.param("1111", {1: 0}, "1000", {1: 1}, [], (0, 0, 1), 0.0, id="mostly on void is forgiven"),
        pytest.param("1111", {1: 0}, "1111", {1: 0}, [1], (0, 0, 0), 0.0, id="crowd of the same class forgives"),
        pytest.param("1111", {1: 1}, "1111", {1: 0}, [1], (0, 1, 0), 0.0, id="crowd of another class does not"),
        pytest.param("1111", {1: 0}, "1102", {1: 0, 2: 1}, [1], (0, 0, 1), 0.0, id="void and crowd add up"),
        pytest.param("0000", {}, "1122", {1: 0, 2: 2}, [], (0, 0, 2), 0.0, id="nothing predicted"),
        pytest.param("1122", {1: 0, 2: 2}, "0000", {}, [], (0, 0, 0), 0.0, id="nothing labelled"),
        pytest.param("1111", {1: 0}, "1111", {1: 0, 9: 0}, [], (1, 0, 1), 1.0, id="true segment without a pixel"),
    ],
)
def test_rules_on_maps_checked_by_hand(
    predicted: str,
    predicted_classes: dict[int, int],
    true: str,
    true_classes: dict[int, int],
    crowd: list[int],
    counts: tuple[int, int, int],
    iou: float,
) -> None:
    matching = match_segments(segment_map(predicted), predicted_classes, segment_map(true), true_classes, crowd)
    found = (len(matching.matches), len(matching.false_positives), len(matching.false_negatives))
    assert found == counts
    assert sum(match.iou for match in matching.matches) == pytest.approx(iou)
    assert len(predicted_classes) == found[0] + found[1] + len(matching.forgiven)


def test_means_ignore_classes_without_segments() -> None:
    quality = PanopticQuality(IS_THING)
    quality.add(segment_map("1112 2220"), {1: 0, 2: 2}, segment_map("1111 2222"), {1: 0, 2: 3})
    report = quality.compute(seen=np.array([True, False, False, False]))
    assert report.pq == pytest.approx([0.75, np.nan, 0.0, 0.0], nan_ok=True)
    assert (report.all.pq, report.all.classes) == (pytest.approx(0.25), 3)
    assert (report.things.pq, report.things.sq, report.things.rq) == pytest.approx((0.75, 0.75, 1.0))
    assert (report.stuff.pq, report.stuff.classes) == (0.0, 2)
    assert report.seen is not None
    assert report.seen.pq == pytest.approx(0.75)
    assert report.unseen is not None
    assert report.unseen.classes == 2


def test_nothing_added_gives_nan_not_zero() -> None:
    report = PanopticQuality(IS_THING).compute()
    assert np.isnan(report.all.pq)
    assert report.all.classes == 0
    assert report.seen is None


@pytest.mark.parametrize(
    ("predicted", "predicted_classes", "true", "true_classes", "message"),
    [
        ("11", {1: 0}, "111", {1: 0}, "height and width"),
        ("12", {1: 0}, "11", {1: 0}, "predicted segment map contains ids \\[2\\]"),
        ("11", {1: 0}, "12", {1: 0}, "true segment map contains ids \\[2\\]"),
        ("11", {1: 0, 2: 1}, "11", {1: 0}, "\\[2\\] have no pixel"),
    ],
)
def test_inconsistent_input_is_refused(
    predicted: str, predicted_classes: dict[int, int], true: str, true_classes: dict[int, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        match_segments(segment_map(predicted), predicted_classes, segment_map(true), true_classes)


class Photo:
    """A random photo: true rectangles, some of them crowds or void; the prediction is a perturbed truth."""

    def __init__(self, random: np.random.Generator, wide_ids: bool) -> None:
        height, width = random.integers(6, 20, 2)
        ids = random.permutation(np.arange(1, 12)) * (65_537 if wide_ids else 1)
        self.true = self._draw(random, np.zeros((height, width), dtype=np.int64), ids[: random.integers(0, 8)])
        classes = random.permutation(CLASSES)[: random.integers(1, CLASSES + 1)]  # other classes are missing
        self.true_classes = {int(i): int(random.choice(classes)) for i in np.unique(self.true) if i}
        crowd_classes = set(random.permutation(CLASSES)[: random.integers(0, 3)].tolist())
        self.crowd = [i for i, c in self.true_classes.items() if c in crowd_classes and random.random() < 0.6]
        predicted = np.roll(self.true, random.integers(-1, 2, 2), axis=(0, 1))
        predicted = self._draw(random, predicted, random.integers(1, 20, random.integers(0, 4)))
        if random.random() < 0.1:
            predicted = np.zeros_like(predicted)
        self.predicted = predicted
        self.predicted_classes = {
            int(i): self.true_classes[int(i)] if int(i) in self.true_classes and random.random() < 0.7
            else int(random.integers(CLASSES))
            for i in np.unique(predicted) if i
        }  # fmt: skip

    @staticmethod
    def _draw(random: np.random.Generator, canvas: np.ndarray, ids: np.ndarray) -> np.ndarray:
        canvas = canvas.copy()
        for segment in ids:
            top, left = random.integers(0, canvas.shape[0]), random.integers(0, canvas.shape[1])
            canvas[top : top + random.integers(2, 12), left : left + random.integers(2, 12)] = segment
        return canvas


def cases(count: int) -> list[list[Photo]]:
    random = np.random.default_rng(0)
    return [[Photo(random, wide_ids=case % 5 == 0) for _ in range(random.integers(1, 4))] for case in range(count)]


def accumulate(photos: list[Photo]) -> PanopticQuality:
    quality = PanopticQuality(IS_THING)
    for photo in photos:
        quality.add(photo.predicted, photo.predicted_classes, photo.true, photo.true_classes, photo.crowd)
    return quality


def test_equals_hotcoco_on_generated_photos(tmp_path: Path) -> None:
    compared = 0
    for case, photos in enumerate(cases(300)):
        if not any(photo.true_classes or photo.predicted_classes for photo in photos):
            continue
        folder = tmp_path / str(case)
        folder.mkdir()
        evaluation = PanopticEval(*write_coco(folder, photos))
        evaluation.evaluate()
        reference = evaluation.results()
        report = accumulate(photos).compute()
        for ours, name in ((report.all, "All"), (report.things, "Things"), (report.stuff, "Stuff")):
            assert ours.classes == reference[name]["n"]
            if ours.classes:
                theirs = [reference[name][key] for key in ("pq", "sq", "rq")]
                assert [ours.pq, ours.sq, ours.rq] == pytest.approx(theirs, abs=1e-6)
                compared += 1
    assert compared > 500


def write_coco(folder: Path, photos: list[Photo]) -> tuple[str, str]:
    """Writes truth and prediction as COCO panoptic JSON and PNG; returns the two JSON paths."""
    categories = [(i, str(i), int(IS_THING[i])) for i in range(CLASSES)]
    for side in ("true", "predicted"):
        drawn = {}
        for number, photo in enumerate(photos):
            classes = getattr(photo, f"{side}_classes")
            segments = {i: (c, side == "true" and i in photo.crowd) for i, c in classes.items()}
            drawn[f"{number}.png"] = (number, f"{number}.jpg", getattr(photo, side), segments)
        panoptic(folder / f"{side}.json", folder / side, categories, drawn)
    return str(folder / "true.json"), str(folder / "predicted.json")


def test_merged_processes_equal_one() -> None:
    photos = [photo for case in cases(30) for photo in case]
    whole, first, second = accumulate(photos), accumulate(photos[::2]), accumulate(photos[1::2])
    first.merge(second.state())
    np.testing.assert_allclose(first.compute().pq, whole.compute().pq, atol=1e-12)
    assert first.compute().all.pq == pytest.approx(whole.compute().all.pq, abs=1e-12)
