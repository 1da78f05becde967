"""`python -m eovseg.evaluation`, also `eovseg evaluate`: evaluate a model on labelled photos."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from eovseg.choices import Task
from eovseg.command_options import add_model_options, add_settings_options
from eovseg.data.data_sets import DATA_SET_NAMES
from eovseg.errors import run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("data", type=Path, help="folder of your own photos and labels, or of a --dataset")
    parser.add_argument(
        "--dataset",
        choices=DATA_SET_NAMES,
        metavar="NAME",
        help="see `eovseg data list` (default: detected, for your own folders)",
    )
    parser.add_argument("--annotations", type=Path, help="panoptic JSON (default: DATA/panoptic.json)")
    parser.add_argument("--images", type=Path, help="folder of photos (default: DATA/images)")
    parser.add_argument("--panoptic", type=Path, help="folder of id PNGs (default: DATA/panoptic)")
    parser.add_argument(
        "--split",
        help="val or train; for an undivided folder: all, validation (a fifth of it) or training (the rest); default: "
        "val, or all of an undivided folder",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N photos")
    parser.add_argument(
        "--vocabulary",
        help="preset, vocabulary file, or words (person, people: thing; sky: stuff); default: the data set's own",
    )
    parser.add_argument("--ignore-unmapped", action="store_true", help="treat categories without a class as unlabelled")
    parser.add_argument("--tasks", nargs="+", choices=get_args(Task), help="default: all tasks that the labels support")
    parser.add_argument("--true-masks", action="store_true", help="also classify the true regions")
    parser.add_argument(
        "--absent-words", action="store_true", help="also measure the void probability of regions whose word is omitted"
    )
    parser.add_argument("--mask-recall", action="store_true", help="also count true segments that some mask matches")
    parser.add_argument("--cost", action="store_true", help="also measure speed, parameters and memory")
    parser.add_argument(
        "--sweep",
        choices=("ensemble", "thresholds", "best-first"),
        help="evaluate many settings on cached logits instead of writing a report; best-first searches "
        "the settings of that composition",
    )
    parser.add_argument("--out", type=Path, help="folder for CSV, JSON, the table and the counts per photo")
    parser.add_argument(
        "--html", type=Path, metavar="FOLDER", help="write an HTML report of the photos and their errors"
    )
    add_model_options(parser)
    add_settings_options(parser, task=False)
    parser.add_argument(
        "--against",
        type=Path,
        metavar="REPORT",
        help="folder of an earlier report on the same photos; show differences with paired 95 %% intervals",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Runs the command with parsed options; raises subclasses of `EovsegError`."""
    from eovseg.evaluation import command

    command.run(options)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m eovseg.evaluation`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation", description=__doc__)
    add_arguments(parser)
    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
