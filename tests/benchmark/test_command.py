"""The benchmark command: a real row, rows that cannot run, and going on where a file ends."""

import csv
from pathlib import Path

import pytest

from eovseg.benchmark import command
from eovseg.benchmark.measure import Case
from eovseg.cli import main


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_row_is_measured_in_a_process_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.csv"
    options = ["benchmark", "--out", str(out), "--variant", "xs", "--words", "6", "--side", "224", "--repeats", "2"]
    assert main(options) == 0
    (row,) = rows(out)
    assert (row["variant"], row["backend"], row["words"], row["side"]) == ("xs", "torch", "6", "224")
    assert row["hardware"] and int(row["threads"]) >= 1
    for name in ("plain whole (s)", "fast whole (s)", "changed word (s)", "changed alpha (s)", "ratio whole", "FPS"):
        assert float(row[name]) > 0, name
    parts = sum(float(row[f"fast {part} (s)"]) for part in ("image", "words", "result"))
    assert parts == pytest.approx(float(row["fast whole (s)"]), rel=0.5)
    assert float(row["difference F_vs"]) < 1e-3 and float(row["difference first masks"]) < 1e-3
    assert 0 < float(row["image floor (s)"]) < float(row["plain image (s)"])
    assert float(row["image multiply-adds (G)"]) > 0 and float(row["matrix product (GFLOP/s)"]) > 1
    assert "times as fast as plain" in capsys.readouterr().out
    assert main(options) == 0
    assert rows(out) == [row] and capsys.readouterr().out == ""  # nothing is measured twice


def test_what_cannot_run_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("eovseg.benchmark.measure.gains_from_bf16", lambda _: False)
    monkeypatch.setattr(command, "QUICK", (Case("s", device="cuda"), Case("l", "openvino", "bfloat16")))
    assert main(["benchmark", "--out", str(tmp_path / "speed.csv")]) == 0
    assert [row["not run"] for row in rows(tmp_path / "speed.csv")] == [
        "no CUDA device", "no bfloat16 in this processor's hardware",
    ]  # fmt: skip


@pytest.mark.slow
def test_bfloat16_numbers_without_its_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "speed.csv"
    if not Case("xs", dtype="bfloat16").emulated:
        pytest.skip("this processor computes bfloat16, and the row is measured")
    monkeypatch.setattr(command, "QUICK", (Case("xs", dtype="bfloat16", side=224),))
    assert main(["benchmark", "--out", str(out)]) == 0
    (row,) = rows(out)
    assert row["not run"] == "no bfloat16 in this processor's hardware"
    assert 1e-5 < float(row["difference F_vs"]) < 3e-2 and 1e-5 < float(row["difference first masks"]) < 3e-2


def test_a_row_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "speed.csv"
    monkeypatch.setattr(command, "QUICK", (Case("xs", words=1, side=1), Case("s", device="cuda")))
    monkeypatch.setattr(
        command, "_measured", lambda case, _: {"failed": "boom"} if case.side == 1 else {"not run": "x"}
    )
    assert main(["benchmark", "--out", str(out)]) == 1
    assert [(row["failed"], row["not run"]) for row in rows(out)] == [("boom", ""), ("", "x")]


@pytest.mark.parametrize("option", ["--words", "--side", "--repeats"])
def test_numbers_below_one_get_one_sentence(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--out", str(tmp_path / "a.csv"), "--variant", "xs", option, "0"]) == 1
    assert f"{option} is 0" in capsys.readouterr().err
