"""Saved reports are computed again from counts, and can only be compared if photos and classes are the same."""

import csv
import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eovseg.assets import asset_path
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError
from eovseg.evaluation import stored
from eovseg.evaluation.counts import COUNTS_FILE
from eovseg.evaluation.evaluate import evaluate
from eovseg.evaluation.origin import Origin
from eovseg.evaluation.report import Report
from eovseg.settings import Settings
from tests.evaluation.test_evaluate import WORDS, OraclePredictor

ROOT = Path(__file__).parents[2]
COMMITTED = sorted(path.parent for path in asset_path("evaluation").rglob(COUNTS_FILE))


@pytest.fixture
def folder(panoptic_folder: Path) -> PanopticFolder:
    return PanopticFolder(panoptic_folder)


@pytest.fixture
def report(folder: PanopticFolder) -> Report:
    found = evaluate(OraclePredictor(), folder, folder.photos, WORDS)  # type: ignore[arg-type]
    return replace(found, origin=Origin("eovseg-xs.safetensors", "ab" * 32, "12" * 20, "eovseg evaluate stripes"))


def without_lamps(folder: PanopticFolder) -> Report:
    predictor = OraclePredictor()
    settings = replace(Settings.of(predictor.config), score_threshold=0.9)
    return evaluate(predictor, folder, folder.photos, WORDS, settings=settings)  # type: ignore[arg-type]


def test_figures_and_intervals_are_restored_from_counts(report: Report, tmp_path: Path) -> None:
    paths = report.save(tmp_path / "out")
    assert paths[-1].name == COUNTS_FILE
    again = stored.read_report(tmp_path / "out")
    assert again.table() == report.table()
    assert again.to_json() == report.to_json()
    assert again.intervals and again.intervals.keys() == report.intervals.keys()
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["origin"]["sha256"] == "ab" * 32
    assert "Commit: " + "12" * 20 in report.table()
    bytes_before = paths[-1].read_bytes()
    assert again.save(tmp_path / "again")[-1].read_bytes() == bytes_before


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_reports_match_their_counts(path: Path) -> None:
    report = stored.read_report(path)
    assert report.origin is not None and report.origin.commit
    assert (path / "report.txt").read_text(encoding="utf-8") == report.table() + "\n"
    summary, spread = report.summary(), report.intervals
    with (path / "summary.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name, value = row["metric"], float(row["value"] or "nan")
            assert value == pytest.approx(summary[name], nan_ok=True)
            bounds = tuple(float(row[side]) for side in ("low", "high")) if row["low"] else None
            assert bounds == (None if name not in spread else pytest.approx(spread[name], abs=1e-6))


OVERALL = ("PQ", "mIoU", "ensemble top-1 seen")


@pytest.mark.parametrize(
    ("text", "folder", "names"),
    [
        ("README.md", "xs-82-photos", (*OVERALL, "left in the result and named")),
        ("README.md", "xs-lvis", ("ensemble top-1 seen", "ensemble top-1 unseen")),
        ("README.md", "xs-test", (*OVERALL, "left in the result and named")),
        ("assets/weights/README.md", "xs-82-photos", OVERALL),
        ("assets/weights/README.md", "xs-test", (*OVERALL, "masks found", "calibration error")),
    ],
)
def test_readme_and_card_print_the_reports_figures(text: str, folder: str, names: tuple[str, ...]) -> None:
    report = stored.read_report(asset_path(f"evaluation/{folder}"))
    printed = " ".join((ROOT / text).read_text(encoding="utf-8").split()).replace("% [", "[")
    for name in names:
        low, high = report.intervals[name]
        assert f"{report.summary()[name]:.1f} [{low:.1f}, {high:.1f}]" in printed


def test_the_command_recomputes_and_detects_changes(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.save(tmp_path)
    assert stored.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == report.table() + "\n"
    document = json.loads(gzip.decompress((tmp_path / COUNTS_FILE).read_bytes()))
    document["photos"][0]["panoptic"][1][1] = 0.75  # the IoU of the sky
    (tmp_path / COUNTS_FILE).write_bytes(gzip.compress(json.dumps(document).encode()))
    assert stored.main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "report.txt is missing or differs from the table above" in captured.err
    assert captured.out != report.table() + "\n"


def spoilt_stream(folder: Path) -> None:
    """Changes two bytes of the compressed stream, which is detected by zlib, not by gzip."""
    data = bytearray((folder / COUNTS_FILE).read_bytes())
    data[10:12] = b"\xff\xff"
    (folder / COUNTS_FILE).write_bytes(data)


def spoilt_header(name: str, value: object) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        path = folder / "report.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    return spoil


def spoilt_counts(part: str, rows: list[object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        document = json.loads(gzip.decompress((folder / COUNTS_FILE).read_bytes()))
        document["photos"][0][part] = rows
        (folder / COUNTS_FILE).write_bytes(gzip.compress(json.dumps(document).encode()))

    return spoil


def test_damaged_reports_are_refused_in_one_sentence(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, spoil, message in (
        ("old", lambda folder: (folder / COUNTS_FILE).unlink(), f"contains no {COUNTS_FILE}; give the folder of"),
        ("cut", lambda folder: (folder / COUNTS_FILE).write_bytes(b"\x1f\x8b\x08"), "contains no counts that this"),
        (
            "future",
            lambda folder: (folder / COUNTS_FILE).write_bytes(gzip.compress(b'{"format":9}')),
            "contains no counts",
        ),
        ("torn", spoilt_stream, "contains no counts that this"),
        ("headless", lambda folder: (folder / "report.json").write_text("{}"), "is not a report of this version"),
        *((f"bad {name}", spoilt_header(name, value), "is not a report of this version") for name, value in (
            ("origin", {"sha256": "ab"}), ("cost", {"device": "cpu"}), ("cost", 3), ("instance", {"ap": 1.0}),
            ("instance", []), ("settings", [1]), ("labels", ["person"]), ("seen", [True]), ("labels", None),
        )),
        ("class 99", spoilt_counts("panoptic", [[99, 0.5, 1, 0, 0]]), "is not a report of this version"),
        ("text", spoilt_counts("semantic", [[0, "many", 1, 1]]), "is not a report of this version"),
        ("score 7", spoilt_counts("segments", [[7.0, True]]), "is not a report of this version"),
        ("long row", spoilt_counts("panoptic", [[0, 1, 2, 3, 4, 5]]), "contains no counts that this"),
        ("latin", lambda folder: (folder / "report.txt").write_bytes(b"\xe9"), "is missing or differs"),
    ):  # fmt: skip
        report.save(tmp_path / name)
        spoil(tmp_path / name)
        assert stored.main([str(tmp_path / name)]) == 1
        captured = capsys.readouterr()
        assert message in captured.err and len(captured.err.splitlines()) == 1


def test_a_comparison_shows_paired_differences(report: Report, folder: PanopticFolder, tmp_path: Path) -> None:
    report.save(tmp_path / "there")
    rows = {row["metric"]: row for row in stored.compare(without_lamps(folder), stored.read_report(tmp_path / "there"))}
    assert (rows["PQ"]["this report"], rows["PQ"]["earlier report"]) == pytest.approx((100 / 3, 200 / 3))
    assert rows["PQ"]["difference"] == pytest.approx(-100 / 3)
    assert (rows["PQ"]["low"], rows["PQ"]["high"]) == pytest.approx((-100 / 3, -100 / 3))  # the photos are identical
    table = stored.comparison_table(list(rows.values()))
    assert ["PQ", "33.3", "66.7", "-33.3", "[-33.3,", "-33.3]"] in [line.split() for line in table.splitlines()]
    assert not any(row["metric"] in table for row in rows.values() if math.isnan(row["difference"]))


def test_seen_classes_are_the_same_on_both_sides(report: Report) -> None:
    """Also for a model trained on other words; otherwise its "PQ seen" would be for other classes."""
    other = replace(report, counts=replace(report.counts, seen=~report.seen), seen=~report.seen)
    rows = {row["metric"]: row for row in stored.compare(report, other)}
    assert (
        rows["PQ seen"]["this report"]
        == rows["PQ seen"]["earlier report"]
        == pytest.approx(report.summary()["PQ seen"])
    )
    assert report.summary()["PQ seen"] != pytest.approx(other.summary()["PQ seen"])


def test_photos_are_paired_by_name_not_by_order(report: Report) -> None:
    names = [photo.photo for photo in report.counts.photos]
    turned = replace(report, counts=report.counts.of_photos(names[::-1]))
    assert all(row["difference"] == 0 for row in stored.compare(report, turned) if math.isfinite(row["difference"]))


def test_other_photos_or_classes_are_refused(report: Report, folder: PanopticFolder) -> None:
    one = evaluate(OraclePredictor(), folder, folder.photos[:1], WORDS)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has 2 photos, 1 of them among the 1 here"):
        stored.compare(one, report)
    with pytest.raises(DataError, match=r"has 4 classes \(own words\) and this one 3"):
        stored.compare(replace(report, labels=report.labels[:3]), report)
    with pytest.raises(DataError, match="differ in which classes are things"):
        stored.compare(replace(report, is_thing=~report.is_thing), report)
