"""Panoptic quality compared with manually checked maps, an independent slow count, and hotcoco."""

import json
from pathlib import Path

import numpy as np
import pytest
from hotcoco.panoptic import PanopticEval
from PIL import Image

from eovseg.errors import DataError
from eovseg.evaluation.panoptic_quality import PanopticQuality, match_segments

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


def slow_counts(photos: list[Photo]) -> np.ndarray:
    """Sum of IoU, true positives, false positives, false negatives (4, CLASSES), counted mask by mask."""
    counts = np.zeros((4, CLASSES))
    for photo in photos:
        void = photo.true == 0
        taken = set()
        for true_id, label in photo.true_classes.items():
            if true_id in photo.crowd:
                continue
            hit = False
            for predicted_id, predicted_label in photo.predicted_classes.items():
                predicted, true = photo.predicted == predicted_id, photo.true == true_id
                iou = (predicted & true).sum() / ((predicted & ~void) | true).sum()
                if predicted_label == label and iou > 0.5:
                    counts[:2, label] += (iou, 1)
                    taken.add(predicted_id)
                    hit = True
            counts[3, label] += not hit
        for predicted_id, label in photo.predicted_classes.items():
            crowds = [i for i in photo.true_classes if i in photo.crowd and photo.true_classes[i] == label]
            predicted = photo.predicted == predicted_id
            excused = void | (photo.true == crowds[-1]) if crowds else void
            if predicted_id not in taken and not (predicted & excused).mean() / predicted.mean() > 0.5:
                counts[2, label] += 1
    return counts


def accumulate(photos: list[Photo]) -> PanopticQuality:
    quality = PanopticQuality(IS_THING)
    for photo in photos:
        quality.add(photo.predicted, photo.predicted_classes, photo.true, photo.true_classes, photo.crowd)
    return quality


def test_equals_a_slow_count_on_generated_photos() -> None:
    reached = np.zeros(4)
    for photos in cases(300):
        state = accumulate(photos).state()
        expected = slow_counts(photos)
        np.testing.assert_allclose(state["iou_sum"], expected[0], atol=1e-9)
        np.testing.assert_array_equal(state["counts"], expected[1:])
        reached += expected.sum(axis=1)
    assert (reached > 100).all()  # every rule was used


def test_equals_hotcoco_on_generated_photos(tmp_path: Path) -> None:
    compared = 0
    for case, photos in enumerate(cases(240)):
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
    assert compared > 400


def write_coco(folder: Path, photos: list[Photo]) -> tuple[str, str]:
    """Writes truth and prediction as COCO panoptic JSON and PNG; returns the two JSON paths."""
    categories = [{"id": i, "name": str(i), "isthing": int(IS_THING[i])} for i in range(CLASSES)]
    paths = []
    for side in ("true", "predicted"):
        (folder / side).mkdir()
        annotations = []
        for number, photo in enumerate(photos):
            ids, classes = getattr(photo, side), getattr(photo, f"{side}_classes")
            Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)).save(
                folder / side / f"{number}.png"
            )
            areas = {i: int((ids == i).sum()) for i in classes}
            segments = [
                {"id": i, "category_id": c, "area": areas[i], "bbox": [0, 0, 1, 1],
                 "iscrowd": int(side == "true" and i in photo.crowd)}
                for i, c in classes.items()
            ]  # fmt: skip
            annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": segments})
        images = [
            {"id": number, "file_name": f"{number}.jpg", "height": photo.true.shape[0], "width": photo.true.shape[1]}
            for number, photo in enumerate(photos)
        ]
        path = folder / f"{side}.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        paths.append(str(path))
    return paths[0], paths[1]


def test_merged_processes_equal_one() -> None:
    photos = [photo for case in cases(30) for photo in case]
    whole, first, second = accumulate(photos), accumulate(photos[::2]), accumulate(photos[1::2])
    first.merge(second.state())
    np.testing.assert_allclose(first.compute().pq, whole.compute().pq, atol=1e-12)
    assert first.compute().all.pq == pytest.approx(whole.compute().all.pq, abs=1e-12)
