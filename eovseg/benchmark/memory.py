"""`python -m eovseg.benchmark.memory`: time and memory of XS over words and over pixels, each point in its own process.

The word half stores one score per kernel and word, and VAS streams the words. A result stores a map of the photo's
size, and masks are computed in tiles. Instances overlap, so each is stored as run lengths. The network processes every
photo at the same working size; only the resizing before it and the result depend on the photo's number of pixels.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.assets import asset_path
from eovseg.errors import ConfigError, run_command
from eovseg.vocabulary import Vocabulary

MODULE = "eovseg.benchmark.memory"
WORDS = (20, 150, 847, 5_000, 10_000)
SIZES = ((640, 480), (1_152, 864), (2_000, 1_500), (4_000, 3_000))  # width, height: 0.3 to 12 megapixels


@dataclass(frozen=True)
class Point:
    """One photo size (pixels) and number of words."""

    width: int
    height: int
    words: int


def measure_point(point: Point) -> dict[str, Any]:
    """Seconds and MB, without the model: image half including resizing, embedding of the words, word half, results."""
    import torch
    from torch.nn import functional as F

    from eovseg.benchmark.measure import peak_memory
    from eovseg.loading import load
    from eovseg.model.values import TextEmbeddings
    from eovseg.stages import Decoded
    from eovseg.timing import timed

    predictor = load("xs", device="cpu")
    with Image.open(asset_path("photos/bus-street.jpg")) as photo:
        pixels = np.asarray(photo.convert("RGB").resize((point.width, point.height), Image.Resampling.BILINEAR))
        small = np.asarray(photo.convert("RGB").resize((96, 64)))
    predictor(small, "bus; sky: stuff")  # warm-up
    row: dict[str, Any] = {}

    @contextlib.contextmanager
    def part(name: str) -> Iterator[None]:
        """Adds the time and memory of the block to the row."""
        return_free_memory()  # otherwise a part could reuse memory of an earlier one, which would hide its own use
        with peak_memory() as peak, timed(predictor.device) as spent:
            yield
        row[f"{name} (s)"], row[f"{name} (MB)"] = spent[0], peak[0]

    with part("image"):
        state = predictor.encode_image(pixels)
    names = [f"thing number {number}" for number in range(point.words)]
    with part("embedding"), torch.inference_mode():
        found = predictor.network.encode_words(names[: min(point.words, 1_000)])  # a sample: time is linear in words
    row["embedding (s)"] *= point.words / len(found)
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(point.words, predictor.config.embed_dim, generator=generator), dim=-1)
    text = TextEmbeddings(rows, torch.arange(point.words))
    with part("words"), torch.inference_mode():
        logits = predictor.network.decode(state.features, text, final_only=True)
    decoded = Decoded(state, Vocabulary.parse("; ".join(f"{name}: thing" for name in names)), logits)
    for task in ("panoptic", "instance"):
        with part(task):
            predictor.compose(decoded, task=task, score_threshold=0.0, void_threshold=1.0)
    return {name: round(value, 4 if name.endswith("(s)") else 1) for name, value in row.items()}


def return_free_memory() -> None:
    """Returns freed memory to the system, if the C library supports it (glibc)."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def points(words: Sequence[int], sizes: Sequence[tuple[int, int]]) -> list[Point]:
    """The points of two curves: over words at the first size, and over sizes with 50 words."""
    return [*(Point(*sizes[0], count) for count in words), *(Point(*size, 50) for size in sizes)]


def run(options: argparse.Namespace) -> None:
    """Measures every point and writes the CSV. Raises `ConfigError` if a point fails."""
    from eovseg.benchmark.command import machine, write_rows

    if min(options.words) < 1:
        raise ConfigError(f"--words is {min(options.words)}; give whole numbers of at least 1.")
    rows = []
    for point in points(options.words, SIZES):
        found = measured(MODULE, asdict(point))
        rows.append({**asdict(point), **machine("cpu"), **found})
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    write_rows(options.out, rows)


def measured(module: str, point: dict[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The output of `python -m module --one POINT` in a new process. Raises `ConfigError` if it fails.

    `environment` contains changes to the environment variables of the process.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, "--one", json.dumps(point)],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise ConfigError(f"{point} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def point_command(
    module: str,
    about: str,
    out: str,
    words: Sequence[int],
    measure_one: Callable[[dict[str, Any]], dict[str, Any]],
    run: Callable[[argparse.Namespace], None],
    argv: Sequence[str] | None,
) -> int:
    """Runs a command that measures points, each in a child process: the same command with --one.

    `out` is the default path of its CSV. Returns the exit code.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--out", type=Path, default=Path(out), help="CSV to write")
    parser.add_argument("--words", nargs="+", type=int, default=list(words))
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the child's point

    def measure(options: argparse.Namespace) -> None:
        if options.one:
            print(json.dumps(measure_one(json.loads(options.one))))
        else:
            run(options)

    return run_command(parser, measure, argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    out = "assets/benchmarks/memory.csv"
    return point_command(MODULE, __doc__, out, WORDS, lambda point: measure_point(Point(**point)), run, argv)


if __name__ == "__main__":
    sys.exit(main())
