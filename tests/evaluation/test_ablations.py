"""Our Table 4: the parts of a network are read from its report, and gains are relative to the same seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eovseg.errors import DataError
from eovseg.evaluation.ablations import main, table
from eovseg.evaluation.counts import ClassSegments, Counts, PhotoCounts
from eovseg.evaluation.paper import TABLE_4
from eovseg.evaluation.report import Report


def _report(pq: float, photos: str = "0123", **network: Any) -> Report:
    """A network with PQs of slightly below and above `pq` percent on four photos."""
    counts = [
        PhotoCounts(f"{i}.jpg", panoptic=[ClassSegments(0, (pq + int(i) - 1.5) / 10, 1, 18, 0)], semantic=[])
        for i in photos
    ]
    classes = Counts(tuple(counts), np.ones(1, dtype=bool), np.ones(1, dtype=bool))
    return Report.of(
        classes, data="photos", variant="xs", vocabulary="own words", labels=("cat",), settings={}, network=network
    )


def test_gains_compare_within_a_seed() -> None:
    rows = table(
        {
            "none": _report(4.0, fusion="none", vas=False),
            "vas": _report(5.0, fusion="none", vas=True),
            "both": _report(6.5, fusion="TDEE", vas=True),
            "none-seed1": _report(5.0, fusion="none", vas=False),
            "both-seed1": _report(5.5, fusion="TDEE", vas=True),
            "new-seed2": _report(9.0, fusion="concat", vas=True),
        }
    )
    gains = [row["PQ gain"] for row in rows]
    assert gains == pytest.approx([None, 1.0, 2.5, None, 0.5, None])  # no network to compare with has seed 2
    assert [row["PQ gain by fusion"] for row in rows] == pytest.approx([None, None, 1.5, None, None, None])
    assert [row["PQ gain by VAS"] for row in rows] == pytest.approx([None, 1.0, None, None, None, None])
    # The gain is the same on every photo, so the interval has no width.
    assert [rows[2][f"PQ gain {side}"] for side in ("low", "high")] == pytest.approx([2.5, 2.5])
    assert [row["seed"] for row in rows] == [0, 0, 0, 1, 1, 2]
    assert rows[2]["paper PQ"] == 24.5 and rows[5]["paper PQ"] is None


def test_the_papers_rows_include_its_best_result() -> None:
    assert max(TABLE_4, key=lambda key: TABLE_4[key][0]) == ("TDEE", True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: _report(4.0), "does not say"),
        (lambda: _report(4.0, fusion="none", vas=False), "same network"),
        (lambda: _report(4.0, "012", fusion="TDEE", vas=False), "same photos"),
    ],
)
def test_reports_that_do_not_fit_together_are_refused(other: Callable[[], Report], message: str) -> None:
    with pytest.raises(DataError, match=message):
        table({"none": _report(4.0, fusion="none", vas=False), "other": other()})


def test_the_command_reads_stored_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _report(4.0, fusion="none", vas=False).save(tmp_path / "none")
    _report(6.5, fusion="TDEE", vas=True).save(tmp_path / "vas-tdee")
    out = tmp_path / "table.csv"
    assert main([str(tmp_path / "none"), str(tmp_path / "vas-tdee"), "--out", str(out)]) == 0
    assert "vas-tdee,TDEE,True,0,4,6.5" in out.read_text(encoding="utf-8")
    out.unlink()
    assert main([str(tmp_path / "missing"), "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert "missing" in message and message.count("\n") == 1 and not out.exists()
