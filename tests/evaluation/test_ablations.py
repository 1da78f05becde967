"""Our Table 4: the parts of a weight file are read from its header, and gains are relative to the same seed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from eovseg.assets import asset_path
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation.ablations import main, measure, with_gains
from eovseg.evaluation.counts import ClassSegments, Counts, PhotoCounts
from eovseg.evaluation.paper import TABLE_4
from eovseg.vocabulary import Vocabulary


def _row(fusion: str, vas: bool, seed: int, pq: float) -> tuple[dict[str, object], Counts]:
    """A network with PQs of slightly below and above `pq` percent on four photos."""
    row = {"fusion": fusion, "VAS": vas, "seed": seed, "PQ": pq, "SQ": 50.0, "RQ": 20.0, "mIoU": 10.0}
    photos = [
        PhotoCounts(f"{i}.jpg", panoptic=[ClassSegments(0, (pq + i - 1.5) / 10, 1, 18, 0)], semantic=[])
        for i in range(4)
    ]
    return row, Counts(tuple(photos), np.ones(1, dtype=bool), np.ones(1, dtype=bool))


def test_gains_compare_within_a_seed() -> None:
    rows = [_row("none", False, 0, 4.0), _row("TDEE", True, 0, 6.5), _row("none", False, 1, 5.0)]
    table = with_gains([*rows, _row("TDEE", True, 1, 5.5), _row("SDI", True, 2, 9.0)])
    assert [row["PQ gain"] for row in table] == [0.0, 2.5, 0.0, 0.5, None]  # no network to compare with has seed 2
    assert table[1]["paper PQ"] == 24.5 and table[1]["paper PQ gain"] == pytest.approx(2.4)
    # The gain is the same on every photo, so the interval has no width.
    assert [table[1][f"PQ gain {side}"] for side in ("low", "high")] == pytest.approx([2.5, 2.5])
    assert table[0]["PQ gain low"] is None and table[4]["PQ gain low"] is None and table[1]["mIoU gain low"] is None


def test_a_fusion_that_the_paper_lacks_has_gains_too() -> None:
    _, new = with_gains([_row("none", False, 0, 4.0), _row("concat", True, 0, 6.0)])
    assert new["PQ gain"] == 2.0 and new["paper PQ"] is None and new["paper PQ gain"] is None


def test_the_papers_rows_include_its_best_result() -> None:
    assert max(TABLE_4, key=lambda key: TABLE_4[key][0]) == ("TDEE", True)


def test_a_row_describes_the_file(panoptic_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "any-name-seed3.safetensors"
    shutil.copy(asset_path("weights/eovseg-xs.safetensors"), copy)
    data = PanopticFolder(panoptic_folder)
    words = Vocabulary.parse("person: thing; sky, clouds: stuff; lamp: thing")
    row, counts = measure(copy, data, data.photos[:1], words)
    assert (row["fusion"], row["VAS"], row["seed"], row["photos"]) == ("TDEE", True, 3, 1)
    assert len(counts.photos) == 1
    assert 0 <= row["PQ"] <= 100 and row["parameters (M)"] > 5


def test_a_missing_file_is_reported(panoptic_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = panoptic_folder / "table.csv"
    assert main([str(panoptic_folder), str(panoptic_folder / "none.safetensors"), "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert "none.safetensors" in message and message.count("\n") == 1 and not out.exists()
