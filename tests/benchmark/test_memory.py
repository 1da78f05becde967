"""The command for the memory curves, with two small points, each measured in a new process."""

import csv
from pathlib import Path

import pytest

from eovseg.benchmark import memory, onnx_memory


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
        parts = ("image", "embedding", "words", "panoptic", "instance")
        assert min(float(row[f"{part} (s)"]) for part in parts) > 0
        assert sum(float(row[f"{part} (MB)"]) for part in parts) > 0


def test_a_failing_point_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory.sys, "executable", "false")
    assert memory.main(["--out", str(tmp_path / "memory.csv")]) == 1
    assert "failed: no word" in capsys.readouterr().err and not (tmp_path / "memory.csv").exists()


@pytest.mark.slow
def test_onnx_words_in_bounded_memory(tmp_path: Path) -> None:
    assert onnx_memory.main(["--out", str(tmp_path / "onnx.csv"), "--words", "150", "10000"]) == 0
    with (tmp_path / "onnx.csv").open(newline="") as file:
        few, many = csv.DictReader(file)
    assert (few["words"], many["words"]) == ("150", "10000")
    every_pixel_and_word = 96 * 128 * 10_000 * 4 / 1e6
    assert float(many["words (MB)"]) < every_pixel_and_word / 2, "storing all similarities would need 491 MB"
    for row in (few, many):
        assert float(row["difference first_masks"]) <= 1e-4 and float(row["words (s)"]) > 0


def test_too_few_words_for_onnx_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert onnx_memory.main(["--words", "2"]) == 1
    assert capsys.readouterr().err == "--words is 2; give whole numbers of at least 3.\n"
