"""The memory curves' command: two small points, each from a process of its own."""

import csv
from pathlib import Path

import pytest

from eovseg.benchmark import memory


def test_points_are_two_curves() -> None:
    found = memory.points((5, 9), ((64, 48), (96, 64)))
    assert [(p.width, p.words) for p in found] == [(64, 5), (64, 9), (64, 50), (96, 50)]


@pytest.mark.slow
def test_every_point_has_times_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SIZES", ((96, 64),))
    assert memory.main(["--out", str(tmp_path / "memory.csv"), "--words", "7"]) == 0
    with (tmp_path / "memory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["width"], row["words"]) for row in rows] == [("96", "7"), ("96", "50")]
    for row in rows:
        for part in ("image", "embedding", "words", "panoptic", "instance"):
            assert float(row[f"{part} (s)"]) > 0 and float(row[f"{part} (MB)"]) >= 0


def test_a_point_that_fails_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory.sys, "executable", "false")
    assert memory.main(["--out", str(tmp_path / "memory.csv")]) == 1
    assert "failed: no word" in capsys.readouterr().err and not (tmp_path / "memory.csv").exists()
