"""The benchmark command: a real row, rows that cannot run, and resuming a file."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from eovseg.benchmark import command
from eovseg.benchmark.measure import Case, measure, measure_difference
from eovseg.cli import main


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_row_is_measured_in_a_new_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_an_unknown_device_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--variant", "xs", "--dtype", "bfloat16", "--device", "abacus"]
    assert main(["benchmark", "--out", str(tmp_path / "speed.csv"), *options]) == 1
    assert capsys.readouterr().err.startswith("eovseg: The device 'abacus' is not available")


def test_cases_that_cannot_run_give_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("eovseg.benchmark.measure.has_bfloat16", lambda _: False)
    monkeypatch.setattr(command, "QUICK", (Case("s", device="cuda"), Case("l", "openvino", "bfloat16")))
    assert main(["benchmark", "--out", str(tmp_path / "speed.csv")]) == 0
    assert [row["not run"] for row in rows(tmp_path / "speed.csv")] == [
        "no CUDA device", "no bfloat16 in this processor's hardware",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:dtype='bfloat16' is slower")
@pytest.mark.parametrize("able", [True, False], ids=["computed", "emulated"])
def test_bfloat16_on_any_processor(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls the code of the row's process: with bfloat16 in hardware, time is measured, else only the difference."""
    monkeypatch.setattr("eovseg.benchmark.measure.has_bfloat16", lambda _: able)
    case = Case("xs", dtype="bfloat16", words=6, side=224, repeats=1)
    assert case.emulated != able
    row = measure(case) if able else measure_difference(case)
    assert 1e-5 < row["difference F_vs"] < 3e-2 and 1e-5 < row["difference first masks"] < 3e-2
    assert ("fast whole (s)" in row) == able
    if able:
        assert row["fast whole (s)"] > 0 and row["ratio whole"] > 0
        plain_float32 = measure(replace(case, dtype="float32"))
        assert row["image multiply-adds (G)"] == plain_float32["image multiply-adds (G)"] > 0
        assert row["image floor (s)"] > 0


def test_a_failing_row_does_not_affect_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "speed.csv"
    monkeypatch.setattr(command, "QUICK", (Case("xs", words=1, side=1), Case("s", device="cuda")))
    monkeypatch.setattr(
        command, "_measured", lambda case, _: {"failed": "boom"} if case.side == 1 else {"not run": "x"}
    )
    assert main(["benchmark", "--out", str(out)]) == 1
    assert [(row["failed"], row["not run"]) for row in rows(out)] == [("boom", ""), ("", "x")]


@pytest.mark.parametrize("option", ["--words", "--side", "--repeats"])
def test_numbers_below_one_are_refused(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--out", str(tmp_path / "a.csv"), "--variant", "xs", option, "0"]) == 1
    assert f"{option} is 0" in capsys.readouterr().err
