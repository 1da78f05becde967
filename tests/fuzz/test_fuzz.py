"""Damaged files of every kind are accepted or refused with one line; tests of the harness itself."""

import os
import time
from pathlib import Path

import pytest

from eovseg.errors import DataError
from tests.fuzz.harness import COUNT, Reader, all_readers, fuzz, outcome
from tests.fuzz.mutations import mutated

SEEDS = [range(300), pytest.param(range(300, COUNT), marks=pytest.mark.slow)]


@pytest.mark.parametrize("seeds", SEEDS, ids=["first", "rest"])
@pytest.mark.parametrize("name", sorted(all_readers()))
def test_an_answer_or_one_sentence(name: str, seeds: range) -> None:
    report = fuzz(all_readers()[name], seeds)
    assert not report.faults, f"{len(report.faults)} faults, the first: {next(iter(report.faults.items()))}"
    assert report.count == len(seeds) and report.answers and report.refusals, report.line()


def test_seeds_repeat_and_differ() -> None:
    originals = [bytes(range(200)), b"{}" * 50]
    inputs = [mutated(originals, seed, [b"null"]) for seed in range(300)]
    assert inputs == [mutated(originals, seed, [b"null"]) for seed in range(300)]
    assert len(set(inputs)) > 250 and any(text in originals for text in inputs)


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, "answer"),
        (DataError("a.json is no JSON."), "refusal"),
        (DataError(""), "fault"),
        (DataError("Two\nlines."), "fault"),
        (DataError("x" * 1001), "fault"),
        (ValueError("not ours"), "fault"),
        (SystemExit(1), "fault"),
    ],
)
def test_what_is_a_fault(tmp_path: Path, error: BaseException | None, kind: str) -> None:
    reader = Reader("one", lambda seed: b"", lambda path: error and _raise(error))
    assert outcome(reader, tmp_path)[0] == kind


def _number(seed: int) -> bytes:
    return bytes([seed])


def _faulty(path: Path) -> object:
    """Returns, hangs, exits, uses memory, refuses and raises, in this order."""
    kind = path.read_bytes()[0]
    if kind == 1:
        time.sleep(60)
    elif kind == 2:
        os._exit(7)
    elif kind == 3:
        return len(b"1" * 600_000_000)
    elif kind == 4:
        raise DataError("This is refused.")
    elif kind == 5:
        return 1 / 0
    return None


def test_hangs_crashes_and_memory_are_found() -> None:
    report = fuzz(Reader("faulty", _number, _faulty), range(6), seconds=3.0, memory=900_000_000)
    assert (report.count, report.answers, report.refusals) == (6, 1, 1)
    assert list(report.faults) == [1, 2, 3, 5]
    assert report.faults[1] == "no answer within 3 s"
    assert report.faults[2] == "the process ended with exit code 7"
    assert "MB of memory used" in report.faults[3]
    assert "ZeroDivisionError" in report.faults[5]
