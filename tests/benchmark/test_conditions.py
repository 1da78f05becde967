"""Photos beside a busy process and in batches: real rows, the busy process, and the CSV."""

import csv
from pathlib import Path
from typing import Any

import psutil
import pytest

from eovseg.benchmark import conditions
from eovseg.benchmark.conditions import Condition, busy_process, measure_condition


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "sides"),
    [
        (Condition("busy", "xs", repeats=2), ("beside a busy process", "alone")),
        (Condition("batch", "xs", batch=2, repeats=2), ("one by one", "at once")),
    ],
    ids=["busy", "batch"],
)
def test_both_sides_are_measured(condition: Condition, sides: tuple[str, str]) -> None:
    row = measure_condition(condition)
    assert (row["first"], row["second"]) == sides
    assert min(row["first (s)"], row["second (s)"], row["ratio min"]) > 0
    assert row["ratio min"] <= row["ratio median"] <= row["ratio max"]


def test_the_busy_process_works_and_ends() -> None:
    others = set(psutil.Process().children())
    with busy_process():
        (busy,) = set(psutil.Process().children()) - others
        before = busy.cpu_times().user
        psutil.cpu_percent(interval=0.5)
        assert busy.cpu_times().user > before
    assert not busy.is_running()


def test_a_row_for_each_condition_and_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(module: str, point: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
        asked.append((point["kind"], point["batch"], environment["OMP_WAIT_POLICY"], environment["OMP_NUM_THREADS"]))
        return {"ratio median": 2.0}

    monkeypatch.setattr(conditions, "measured", measured)
    out = tmp_path / "conditions.csv"
    assert conditions.main(["--variant", "xs", "--threads", "2", "--out", str(out)]) == 0
    assert asked == [
        ("busy", 1, "PASSIVE", "2"), ("busy", 1, "ACTIVE", "2"),
        ("batch", 2, "PASSIVE", "2"), ("batch", 4, "PASSIVE", "2"),
    ]  # fmt: skip
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and all(row["hardware"] and float(row["load average before"]) >= 0 for row in rows)


def test_zero_repeats_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert conditions.main(["--repeats", "0"]) == 1
    assert capsys.readouterr().err == "--repeats is 0; give at least 1.\n"
