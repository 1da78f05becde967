"""Reads inputs in a child process and checks the contract described in `tests.fuzz`."""

import functools
import importlib
import multiprocessing
import os
import pkgutil
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

from eovseg.errors import EovsegError
from tests.fuzz import readers

COUNT = 2_000  # inputs per reader in `make test`
SECONDS = 10.0  # per input
MEMORY = 1_500_000_000  # peak memory of the process in bytes
_START_SECONDS = 120.0
_LONGEST = 1_000  # characters of a message


@dataclass(frozen=True)
class Reader:
    """A reader to fuzz, see `tests.fuzz`. It is pickled, so its functions must be module-level."""

    name: str
    make: Callable[[int], bytes]
    read: Callable[[Path], object]
    suffix: str = ""
    errors: tuple[type[Exception], ...] = (EovsegError,)


@dataclass
class Report:
    """Outcome of `count` inputs of one reader; `faults` are contract violations by seed."""

    name: str
    count: int = 0
    answers: int = 0
    refusals: int = 0
    faults: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    seconds: float = 0.0
    memory: int = 0

    def line(self) -> str:
        """The report as one line."""
        return (
            f"{self.name}: {self.count:,} inputs, {self.answers:,} answers, {self.refusals:,} refusals, "
            f"{len(self.faults):,} faults; slowest {self.slowest * 1000:.0f} ms, {self.memory / 1e6:.0f} MB at most, "
            f"{self.seconds:.0f} s"
        )


def all_readers() -> dict[str, Reader]:
    """The readers of all files in `tests/fuzz/readers`, by name."""
    found: dict[str, Reader] = {}
    for module in _modules():
        for reader in importlib.import_module(module).READERS:
            assert reader.name not in found, f"two readers are named {reader.name}"
            found[reader.name] = reader
    return found


def _modules() -> list[str]:
    return [f"{readers.__name__}.{module.name}" for module in pkgutil.iter_modules(readers.__path__)]


def fuzz(reader: Reader, seeds: Iterable[int], seconds: float = SECONDS, memory: int = MEMORY) -> Report:
    """Reads the inputs of `seeds` with `reader`; a child that hangs, exits or uses too much memory is replaced."""
    report, left = Report(reader.name), list(seeds)
    begin = time.perf_counter()
    while left:
        with _Child(reader, left, memory) as child:
            left = left[_follow(child, left, report, seconds, memory) :]
    report.seconds = time.perf_counter() - begin
    return report


def _follow(child: "_Child", seeds: list[int], report: Report, seconds: float, memory: int) -> int:
    """Records outcomes until the child must be replaced; returns the number of seeds read."""
    assert child.receive(_START_SECONDS) == "ready", "the child process did not start"
    for done, seed in enumerate(seeds, 1):
        answer = child.receive(seconds)
        report.count += 1
        if isinstance(answer, str):
            report.faults[seed] = answer
            return done
        kind, text, took, peak = answer
        report.slowest, report.memory = max(report.slowest, took), max(report.memory, peak)
        if peak > memory:
            report.faults[seed] = f"{peak / 1e6:.0f} MB of memory used"
            return done
        if kind == "fault":
            report.faults[seed] = text
        else:
            report.answers += kind == "answer"
            report.refusals += kind == "refusal"
    return len(seeds)


class _Child:
    """A process that reads the inputs of `seeds` one by one and reports each outcome."""

    def __init__(self, reader: Reader, seeds: list[int], memory: int) -> None:
        context = _context()
        self._folder = tempfile.mkdtemp(prefix="fuzz-")
        self._answers, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_work, args=(reader, seeds, memory, self._folder, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self, seconds: float) -> Any:
        """The child's next message, or the reason why there is none."""
        if not self._answers.poll(seconds):
            return f"no answer within {seconds:g} s"
        try:
            return self._answers.recv()
        except EOFError:
            self._process.join()
            return f"the process ended with exit code {self._process.exitcode}"

    def __enter__(self) -> "_Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._answers.close()
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def _context() -> Any:
    """Start method of children: if supported, forks of a process that has already imported the package."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_modules()])
    return context


def _work(reader: Reader, seeds: list[int], memory: int, folder: str, answers: Connection) -> None:
    """The child: `answers` receives "ready", then (kind, text, seconds, peak memory in bytes) for each seed."""
    path = Path(folder) / f"input{reader.suffix}"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # silences warnings of C libraries
    _limit_address_space(memory)
    answers.send("ready")
    for seed in seeds:
        path.write_bytes(reader.make(seed))
        begin = time.perf_counter()
        kind, text = outcome(reader, path)
        answers.send((kind, text, time.perf_counter() - begin, _most_bytes()))


def outcome(reader: Reader, path: Path) -> tuple[str, str]:
    """("answer", ""), ("refusal", sentence) or ("fault", what was wrong) for the input in `path`."""
    try:
        reader.read(path)
    except reader.errors as error:
        sentence = str(error)
        if not sentence.strip() or len(sentence.splitlines()) != 1 or len(sentence) > _LONGEST:
            return "fault", f"{type(error).__name__} is not one sentence: {sentence[:2000]!r}"
        return "refusal", sentence
    except BaseException:
        return "fault", traceback.format_exc()
    return "answer", ""


def _limit_address_space(memory: int) -> None:
    """If supported, limits memory, so that an input cannot exhaust the machine's."""
    if sys.platform == "linux":
        import resource

        most = psutil.Process().memory_info().vms + 2 * memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _most_bytes() -> int:
    """Peak memory of this process in bytes."""
    if sys.platform == "linux":  # not getrusage, which includes the parent's memory
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
