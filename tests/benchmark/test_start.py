"""The command for start-up times: rows of real processes, and a process that fails."""

import csv
from pathlib import Path

import pytest

from eovseg.benchmark import start


@pytest.mark.slow
def test_each_row_has_time_memory_and_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = start.starts()
    assert {"import eovseg", "eovseg --help", "eovseg segment --help", "eovseg page --help"} <= wanted.keys()
    chosen = {name: wanted[name] for name in ("import eovseg", "eovseg convert --help", "first result of XS")}
    monkeypatch.setattr(start, "starts", lambda: chosen)
    assert start.main(["--out", str(tmp_path / "start.csv"), "--repeats", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    with (tmp_path / "start.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["start"], row["torch loaded"]) for row in rows] == [
        ("import eovseg", "False"), ("eovseg convert --help", "False"), ("first result of XS", "True"),
    ]  # fmt: skip
    for row in rows:
        assert min(float(row[name]) for name in ("seconds", "memory (MB)")) > 0 and row["processor"]


def test_failures_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(start, "starts", lambda: {"nothing": ["raise SystemExit('no such thing')"]})
    assert start.main(["--out", str(tmp_path / "start.csv")]) == 1
    assert capsys.readouterr().err == "nothing failed: no such thing\n" and not list(tmp_path.iterdir())
    assert start.main(["--repeats", "0"]) == 1
    assert capsys.readouterr().err == "--repeats is 0; give at least 1.\n"
