"""`python -m eovseg.benchmark.start`: start-up times, each measured in new processes.

It measures `import eovseg`, the help of every command, and XS's first result: loading, one photo and three words that
are not cached. Seconds are the median from the start of Python to its end, without the first run, which fills the file
cache. "CPU (s)" is the CPU time of the last run, which other programs on the machine hardly affect.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eovseg.errors import ConfigError, run_command

FIRST_RESULT = (
    "import eovseg; from eovseg.assets import asset_path;"
    "eovseg.load('xs', device='cpu')(asset_path('photos/bus-street.jpg'), 'bus; road: stuff; sky: stuff')"
)
# Runs the given code; prints to standard error its CPU seconds, peak memory in MB and whether torch is loaded.
_CHILD = """
import sys, time
try:
    exec(sys.argv.pop(1))
except SystemExit as end:
    if end.code:
        raise
seconds, torch = time.process_time(), "torch" in sys.modules
from eovseg.benchmark.start import peak_megabytes
sys.stderr.write(f"\\n[{seconds:.2f}, {peak_megabytes()}, {str(torch).lower()}]")
"""


def starts() -> dict[str, list[str]]:
    """The measured cases by name: Python code and its arguments."""
    from eovseg import own_packages
    from eovseg.cli import COMMANDS

    command = "from eovseg.cli import main; raise SystemExit(main())"
    found = {"import eovseg": ["import eovseg"], "eovseg --help": [command, "--help"]}
    for name in (*COMMANDS, *own_packages.COMMANDS):
        found[f"eovseg {name} --help"] = [command, name, "--help"]
    return found | {"first result of XS": [FIRST_RESULT]}


def peak_megabytes() -> float:
    """Peak memory of this process so far in MB; NaN on systems that do not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def measured(name: str, arguments: Sequence[str], repeats: int) -> dict[str, Any]:
    """A row: median seconds, CPU seconds, MB, whether torch was loaded. Raises `ConfigError` if a process fails."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *arguments],
            env={**os.environ, "EOVSEG_CACHE": os.devnull},  # disables the word cache
            capture_output=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip
        seconds.append(time.perf_counter() - begin)
        if done.returncode:
            raise ConfigError(f"{name} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    busy, memory, torch = json.loads(done.stderr.splitlines()[-1])
    middle = round(sorted(seconds[1:])[repeats // 2], 2)
    return {"start": name, "seconds": middle, "CPU (s)": busy, "memory (MB)": memory, "torch loaded": torch}


def run(options: argparse.Namespace) -> None:
    """Measures everything and writes the CSV. Raises `ConfigError` if a start fails."""
    if options.repeats < 1:
        raise ConfigError(f"--repeats is {options.repeats}; give at least 1.")
    rows = []
    for name, arguments in starts().items():
        rows.append(measured(name, arguments, options.repeats))
        print(", ".join(f"{column} {value}" for column, value in rows[-1].items()), flush=True)
    from eovseg.benchmark.command import processor, write_rows

    write_rows(options.out, [{**row, "repeats": options.repeats, "processor": processor()} for row in rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.benchmark.start", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/benchmarks/start.csv"), help="CSV to write")
    parser.add_argument("--repeats", type=int, default=5, help="processes per row; the median is reported")
    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
