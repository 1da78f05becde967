"""`eovseg benchmark`: speed of the variants beside the readable network."""

import argparse
from pathlib import Path
from typing import get_args

from eovseg.choices import Backend
from eovseg.model.config import Variant


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the benchmark."""
    parser.add_argument("--out", type=Path, required=True, help="CSV; rows that it has already are not measured again")
    parser.add_argument("--variant", nargs="+", choices=get_args(Variant), help="this choice instead of the usual")
    parser.add_argument("--backend", nargs="+", choices=get_args(Backend), default=["torch"])
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--words", nargs="+", type=int, default=[150])
    parser.add_argument("--side", nargs="+", type=int, default=[640], help="shorter side of the photo in pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs, of which the median counts")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the child's case
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure what the CSV lacks, row by row; returns 1 when a row failed. Raises `ConfigError`."""
    from eovseg.benchmark import command

    return command.run(options)
