"""`eovseg benchmark`: speed of the fast network compared with the plain one."""

import argparse
from pathlib import Path
from typing import get_args

from eovseg.choices import Backend
from eovseg.model.config import Variant


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the benchmark."""
    parser.add_argument("--out", type=Path, required=True, help="CSV; rows that it already has are not measured again")
    parser.add_argument(
        "--variant",
        nargs="+",
        choices=get_args(Variant),
        help="default: a short list of cases, which ignores the options below",
    )
    parser.add_argument("--backend", nargs="+", choices=get_args(Backend), default=["torch"], help="default: torch")
    parser.add_argument(
        "--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32"], help="default: float32"
    )
    parser.add_argument("--words", nargs="+", type=int, default=[150], help="numbers of words (default: 150)")
    parser.add_argument(
        "--side", nargs="+", type=int, default=[640], help="shorter sides of the photo, in pixels (default: 640)"
    )
    parser.add_argument("--device", default="cpu", help="default: cpu")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs, whose median is reported (default: 3)")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the child's case
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measures the cases that are not yet in the CSV, row by row; returns 1 if a row failed. Raises `ConfigError`."""
    from eovseg.benchmark import command

    return command.run(options)
