"""`python -m eovseg.benchmark.conditions`: photos while another process is busy, and in batches.

"busy": a photo by itself and while another process runs a busy loop, alternately, with threads that sleep while they
wait (OMP_WAIT_POLICY=PASSIVE, as the commands set it) and with threads that spin (ACTIVE). "batch": the image half of
several photos in one batch and one by one, alternately; a ratio above 1 means that the batch is faster. Each row is
measured in a new process. Other programs distort the numbers, so each row contains the load average before it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from eovseg.benchmark.memory import measured
from eovseg.errors import ConfigError, any_encoding, exit_code, parse_options
from eovseg.model.config import Variant

MODULE = "eovseg.benchmark.conditions"
BATCHES = (2, 4)


@dataclass(frozen=True)
class Condition:
    """The case measured in one row; `waiting` is OpenMP's wait policy, `batch` the number of photos in a batch."""

    kind: Literal["busy", "batch"]
    variant: str
    waiting: str = "PASSIVE"
    batch: int = 1
    repeats: int = 5


def conditions(variants: Sequence[str], repeats: int) -> list[Condition]:
    """The conditions of all rows, variant by variant."""
    found = []
    for variant in variants:
        found += [Condition("busy", variant, waiting, repeats=repeats) for waiting in ("PASSIVE", "ACTIVE")]
        found += [Condition("batch", variant, batch=batch, repeats=repeats) for batch in BATCHES]
    return found


def measure_condition(condition: Condition) -> dict[str, Any]:
    """The row of a condition: median seconds of both sides, and the minimum, median and maximum ratio of a pair."""
    import torch

    from eovseg.benchmark.measure import Case, benchmark_photo, benchmark_predictor, benchmark_words
    from eovseg.model.config import variant_config
    from eovseg.timing import timed

    case = Case(condition.variant, words=50, side=variant_config(condition.variant).short_side)
    predictor, photo = benchmark_predictor(case), benchmark_photo(case)
    pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float()
    text = benchmark_words(case, predictor)[1]

    def whole() -> None:
        features = predictor.network.encode_image(pixels)
        predictor.network.decode(features, text, final_only=True)

    def seconds(work: Callable[[], object]) -> float:
        with torch.inference_mode(), timed(torch.device("cpu")) as spent:
            work()
        return spent[0]

    photos = pixels.expand(condition.batch, -1, -1, -1).contiguous()
    sides: dict[str, list[float]] = {"first (s)": [], "second (s)": []}
    seconds(whole)  # warm-up
    for _ in range(condition.repeats):
        if condition.kind == "busy":
            with busy_process():
                sides["first (s)"].append(seconds(whole))
            sides["second (s)"].append(seconds(whole))
        else:
            one_by_one = [seconds(lambda: predictor.network.encode_image(pixels)) for _ in photos]
            sides["first (s)"].append(sum(one_by_one))
            sides["second (s)"].append(seconds(lambda: predictor.network.encode_image(photos)))
    ratios = sorted(one / other for one, other in zip(*sides.values(), strict=True))
    names = ("beside a busy process", "alone") if condition.kind == "busy" else ("one by one", "at once")
    row: dict[str, Any] = {"first": names[0], "second": names[1], "threads": torch.get_num_threads()}
    row |= {name: round(statistics.median(values), 4) for name, values in sides.items()}
    middle = statistics.median(ratios)
    return row | {
        "ratio min": round(ratios[0], 2), "ratio median": round(middle, 2), "ratio max": round(ratios[-1], 2),
    }  # fmt: skip


@contextmanager
def busy_process() -> Iterator[None]:
    """Runs a process in a busy loop during the block."""
    code = "import os\nparent = os.getppid()\nprint(flush=True)\nwhile os.getppid() == parent: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has started
        try:
            yield
        finally:
            process.kill()


def run(options: argparse.Namespace) -> None:
    """Measures every row and writes the CSV. Raises `ConfigError` if a row fails."""
    from eovseg.benchmark.command import load_average, machine, write_rows

    if options.repeats < 1:
        raise ConfigError(f"--repeats is {options.repeats}; give at least 1.")
    rows = []
    for condition in conditions(options.variant, options.repeats):
        load = load_average()
        environment = {"OMP_WAIT_POLICY": condition.waiting, "OMP_NUM_THREADS": str(options.threads)}
        found = measured(MODULE, asdict(condition), environment)
        rows.append({**asdict(condition), **machine("cpu"), **load, **found})
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    write_rows(options.out, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/benchmarks/conditions.csv"), help="CSV to write")
    parser.add_argument("--variant", nargs="+", choices=get_args(Variant), default=["xs", "s"])
    parser.add_argument("--repeats", type=int, default=5, help="pairs of runs per row")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the child's row
    any_encoding()
    options = parse_options(parser, argv)
    if options.one:
        print(json.dumps(measure_condition(Condition(**json.loads(options.one)))))
        return 0
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
