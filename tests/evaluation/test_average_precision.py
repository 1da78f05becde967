"""Mask AP compared with manually checked masks, pycocotools on files, and hotcoco."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import hotcoco
import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eovseg.errors import DataError
from eovseg.evaluation.average_precision import InstanceAveragePrecision

IS_THING = np.array([True, True, True, False])
Case = list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[int]]]


def box(left: int, right: int) -> np.ndarray:
    mask = np.zeros((10, 10), dtype=bool)
    mask[:, left:right] = True
    return mask


def masks(*boxes: tuple[int, int]) -> np.ndarray:
    return np.array([box(*edges) for edges in boxes]).reshape(-1, 10, 10)


@pytest.mark.parametrize(
    ("predicted", "labels", "scores", "crowd", "ap", "ap50"),
    [
        pytest.param([(0, 10)], [0], [0.5], [], 1.0, 1.0, id="perfect"),
        pytest.param([(0, 6)], [0], [0.5], [], 0.3, 1.0, id="IoU 0.6 passes 3 of 10 thresholds"),
        pytest.param([(0, 10)], [1], [0.5], [], 0.0, 0.0, id="wrong class"),
        pytest.param([(0, 10)], [3], [0.5], [], 0.0, 0.0, id="stuff is not scored"),
        pytest.param([(0, 1), (0, 10)], [0, 0], [0.9, 0.5], [], 0.5, 0.5, id="a false mask ranks first"),
        pytest.param([(0, 10), (0, 1)], [0, 0], [0.9, 0.5], [], 1.0, 1.0, id="a false mask ranks last"),
        pytest.param([], [], [], [], 0.0, 0.0, id="nothing predicted"),
        pytest.param([(0, 10)], [0], [0.5], [0], np.nan, np.nan, id="only a crowd"),
    ],
)
def test_masks_checked_by_hand(
    predicted: list[tuple[int, int]], labels: list[int], scores: list[float], crowd: list[int], ap: float, ap50: float
) -> None:
    precision = InstanceAveragePrecision(IS_THING)
    precision.add(masks(*predicted), labels, scores, masks((0, 10)), [0], crowd)
    report = precision.compute()
    assert (report.ap, report.ap50) == pytest.approx((ap, ap50), nan_ok=True)
    assert report.per_class == pytest.approx([ap, np.nan, np.nan, np.nan], nan_ok=True)


def test_masks_are_matched_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    matched = COCOeval.evaluate
    monkeypatch.setattr(COCOeval, "evaluate", lambda self: (calls.append(1), matched(self))[1])
    precision = InstanceAveragePrecision(IS_THING)
    for photo in range(2):
        precision.add(masks((0, 6)), [0], [0.5], masks((0, 10)), [0])
        assert precision.compute().ap50 == pytest.approx(1.0)
        assert [(m.truths, m.matched) for m in precision.matches()[photo]] == [(1, [0b111])]  # 0.5, 0.55, 0.6
        precision.compute()
        assert len(calls) == photo + 1


def test_nothing_added_gives_nan_not_zero() -> None:
    assert np.isnan(InstanceAveragePrecision(IS_THING).compute().ap)


def test_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="needs a label"):
        InstanceAveragePrecision(IS_THING).add(masks((0, 5)), [0, 1], [0.5], masks(), [])


def generated_case(random: np.random.Generator) -> Case:
    """Photos of rectangles, some crowds, predicted with shifts, wrong classes, extra masks, or not at all."""
    case: Case = []
    for _ in range(random.integers(1, 4)):
        true = np.zeros((random.integers(0, 5), 40, 40), dtype=bool)
        for mask in true:
            top, left = random.integers(0, 30, 2)
            mask[top : top + random.integers(3, 25), left : left + random.integers(3, 25)] = True
        true_labels = random.integers(0, 3, len(true))
        crowd = [place for place in range(len(true)) if random.random() < 0.2]
        chosen = np.repeat(np.arange(len(true)), random.integers(0, 3, len(true)))
        predicted = np.array([np.roll(true[i], random.integers(-2, 3, 2), (0, 1)) for i in chosen], dtype=bool)
        labels = np.where(random.random(len(chosen)) < 0.7, true_labels[chosen], random.integers(0, 4, len(chosen)))
        scores = random.random(len(chosen))
        case.append((predicted.reshape(-1, 40, 40), labels, scores, true, true_labels, crowd))
    return case


def accumulate(case: Case) -> InstanceAveragePrecision:
    precision = InstanceAveragePrecision(IS_THING)
    for photo in case:
        precision.add(*photo)
    return precision


def write_coco(folder: Path, case: Case) -> tuple[str, str]:
    """The usual pair of files: COCO instances JSON and a results list."""

    def encode(mask: np.ndarray) -> dict[str, Any]:
        encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
        return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}

    truth, results = [], []
    for image, (predicted, labels, scores, true, true_labels, crowd) in enumerate(case, 1):
        for mask, label, score in zip(predicted, labels, scores, strict=True):
            if not IS_THING[label]:
                continue  # COCO's tools do not score stuff
            results.append(
                {"image_id": image, "category_id": int(label), "segmentation": encode(mask), "score": float(score)}
            )
        for place, (mask, label) in enumerate(zip(true, true_labels, strict=True)):
            truth.append(
                {"id": len(truth) + 1, "image_id": image, "category_id": int(label), "segmentation": encode(mask),
                 "area": float(mask.sum()), "bbox": [0.0, 0.0, 1.0, 1.0], "iscrowd": int(place in crowd)}
            )  # fmt: skip
    document = {
        "images": [{"id": image, "height": 40, "width": 40} for image in range(1, len(case) + 1)],
        "categories": [{"id": label, "name": str(label)} for label in range(3)],
        "annotations": truth,
    }
    (folder / "truth.json").write_text(json.dumps(document))
    (folder / "results.json").write_text(json.dumps(results))
    return str(folder / "truth.json"), str(folder / "results.json")


def test_equals_pycocotools_and_hotcoco_on_generated_photos(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    compared = 0
    for _ in range(250):
        case = generated_case(random)
        report = accumulate(case).compute()
        if not any((photo[1] < 3).any() for photo in case):
            assert not report.ap > 0  # pycocotools refuses an empty results file
            continue
        truth, results = write_coco(tmp_path, case)
        with contextlib.redirect_stdout(io.StringIO()):
            reference = COCO(truth)
            evaluation = COCOeval(reference, reference.loadRes(results), "segm")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            second_truth = hotcoco.COCO(truth)
            second = hotcoco.COCOeval(second_truth, second_truth.load_res(results), "segm")
            second.run()
        ours = [report.ap, report.ap50, report.ap75, report.ap_small, report.ap_medium, report.ap_large]
        for theirs in (evaluation.stats, second.stats):
            expected = [value if value > -1 else np.nan for value in list(theirs)[:6]]
            assert ours == pytest.approx(expected, abs=1e-6, nan_ok=True)
        compared += 1
    assert compared >= 200


def test_merged_processes_equal_one() -> None:
    case = [photo for seed in range(6) for photo in generated_case(np.random.default_rng(seed))]
    whole, first = accumulate(case), accumulate(case[::2])
    first.merge(accumulate(case[1::2]).state())
    assert first.compute().ap == pytest.approx(whole.compute().ap, abs=1e-12)
