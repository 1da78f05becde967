"""A report's files contain its numbers, and JSON and CSV never contain NaN."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eovseg.evaluation.average_precision import InstanceAveragePrecision
from eovseg.evaluation.cost import Cost
from eovseg.evaluation.counts import (
    COUNTS_FILE,
    ClassPixels,
    ClassSegments,
    Counts,
    NamedRegion,
    PhotoCounts,
    ScoredSegment,
    VoidScore,
)
from eovseg.evaluation.paper import REPORTED
from eovseg.evaluation.report import Report

LABELS = ("person", "sky", "zebra")
IS_THING = np.array([True, False, True])
SEEN = np.array([True, True, False])


@pytest.fixture
def report() -> Report:
    """One photo: half of a person is found (PQ 0, IoU 0.5), all of the sky, and no zebra."""
    instance = InstanceAveragePrecision(IS_THING)
    box = np.arange(8)[None, None] < 4
    instance.add(box & (np.arange(8) < 2), [0], [0.9], box, [0])
    photo = PhotoCounts(
        "stripes.png",
        panoptic=[ClassSegments(0, 0.0, 0, 1, 1), ClassSegments(1, 1.0, 1, 0, 0)],
        segments=[ScoredSegment(0.9, False), ScoredSegment(0.8, True)],
        semantic=[ClassPixels(0, 2, 4, 2), ClassPixels(1, 4, 4, 4)],
        instance=instance.matches()[0],
        regions=[NamedRegion(0, 1, 6, 1), NamedRegion(1, 2, 6, 1)],
        absent=[VoidScore(0.9, True), VoidScore(0.1, False)],
    )
    return Report.of(
        Counts((photo,), IS_THING, SEEN),
        data="stripes",
        variant="l",
        vocabulary="ade20k-150",
        labels=LABELS,
        settings={"alpha": 0.4},
        instance=instance.compute(),
        cost=Cost("cpu", (1, 8), 20.0, {"decoder": 1_500_000, "vas": 500_000}, 3_000_000_000, 250_000_000),
    )


def test_headline_numbers_in_percent(report: Report) -> None:
    summary = report.summary()
    assert (summary["PQ"], summary["PQ things"], summary["PQ stuff"], summary["PQ seen"]) == (50.0, 0.0, 100.0, 50.0)
    assert np.isnan(summary["PQ unseen"])
    assert (summary["mIoU"], summary["pixel accuracy"]) == (75.0, 75.0)
    assert summary["AP50"] == pytest.approx(100.0)
    assert (summary["ensemble top-1 seen"], summary["in-vocabulary top-1 seen"]) == (100.0, 50.0)
    assert summary["absent words noticed (ROC area)"] == 100.0
    assert (summary["FPS"], summary["parameters (M)"], summary["FLOPs (G)"]) == (20.0, 2.0, 3.0)


def test_the_table_includes_the_papers_numbers(report: Report) -> None:
    table = report.table()
    assert table.splitlines()[0] == "L on stripes: 1 photos, 3 classes (ade20k-150), 2 of them seen in training"
    assert ["PQ", "50.0", "24.5"] in [line.split() for line in table.splitlines()]
    assert ["PQ", "unseen", "-"] in [line.split() for line in table.splitlines()]
    own_words = replace(report, vocabulary="own words").table()
    assert "paper" not in own_words


def test_paper_rows_are_those_of_its_tables() -> None:
    assert REPORTED["s", "ade20k-150"]["PQ"] == 15.1
    assert REPORTED["m", "pascal-context-459"] == {"mIoU": 12.2}
    assert REPORTED["l", "cityscapes-19"]["FPS"] == 7.9


def test_only_classes_with_truth_or_predictions_have_a_row(report: Report) -> None:
    rows = {row["class"]: row for row in report.per_class()}
    assert list(rows) == ["person", "sky"]
    assert (rows["person"]["kind"], rows["person"]["seen"], rows["person"]["IoU"]) == ("thing", True, 50.0)
    assert (rows["person"]["false positives"], rows["person"]["false negatives"]) == (1, 1)


def test_files_contain_the_same_numbers(report: Report, tmp_path: Path) -> None:
    paths = report.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["summary.csv", "per_class.csv", "report.json", "report.txt", COUNTS_FILE]
    document = json.loads(paths[2].read_text(), parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))
    assert document["summary"]["PQ"] == 50.0
    assert document["summary"]["PQ unseen"] is None
    assert document["panoptic"]["pq"] == [0.0, 1.0, None]
    assert document["paper"]["PQ"] == 24.5
    with paths[0].open(newline="") as file:
        summary = {row["metric"]: row for row in csv.DictReader(file)}
    assert (summary["PQ"]["value"], summary["PQ"]["paper"]) == ("50.0", "24.5")
    assert summary["PQ unseen"]["value"] == ""
    with paths[1].open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["person", "sky"]
    assert paths[3].read_text() == report.table() + "\n"


def test_parts_that_were_not_measured_are_absent(report: Report, tmp_path: Path) -> None:
    photo = PhotoCounts("stripes.png", semantic=report.counts.photos[0].semantic)
    header = {name: getattr(report, name) for name in ("data", "variant", "vocabulary", "labels", "settings")}
    only_semantic = Report.of(Counts((photo,), IS_THING, SEEN), **header)
    assert list(only_semantic.summary()) == ["mIoU", "pixel accuracy", "mIoU seen", "mIoU unseen"]
    assert json.loads(only_semantic.save(tmp_path)[2].read_text())["panoptic"] is None
