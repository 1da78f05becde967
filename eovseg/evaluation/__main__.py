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
    """Declare the command's options on `parser`."""
    parser.add_argument("data", type=Path, help="folder with images/, panoptic/ and panoptic.json, or a data set's")
    parser.add_argument("--dataset", choices=DATA_SET_NAMES, metavar="NAME", help="see `eovseg data list`")
    parser.add_argument("--annotations", type=Path, help="another panoptic JSON than DATA/panoptic.json")
    parser.add_argument("--images", type=Path, help="another folder of photos than DATA/images")
    parser.add_argument("--panoptic", type=Path, help="another folder of id PNGs than DATA/panoptic")
    parser.add_argument(
        "--split",
        help="of a plain folder: all (default), validation, training; of a data set: val (default), train",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N photos")
    parser.add_argument(
        "--vocabulary",
        help="preset, vocabulary file, or words (person, people: thing; sky: stuff); default: the data set's own, "
        "else coco-panoptic-133",
    )
    parser.add_argument("--ignore-unmapped", action="store_true", help="categories in no class count as unlabelled")
    parser.add_argument("--tasks", nargs="+", choices=get_args(Task), help="default: all that the labels allow")
    parser.add_argument("--true-masks", action="store_true", help="also classify the true regions")
    parser.add_argument("--absent-words", action="store_true", help="also leave true words out and look for void")
    parser.add_argument("--mask-recall", action="store_true", help="also count the true segments that no mask reaches")
    parser.add_argument("--cost", action="store_true", help="also measure speed, parameters and memory")
    parser.add_argument(
        "--sweep",
        choices=("ensemble", "thresholds", "best-first"),
        help="settings on kept logits, instead of a report; best-first: a search for the fields of that composition",
    )
    parser.add_argument("--out", type=Path, help="folder for CSV, JSON, the table and the counts of each photo")
    add_model_options(parser)
    add_settings_options(parser, task=False)
    parser.add_argument(
        "--against",
        type=Path,
        metavar="REPORT",
        help="folder of an earlier report on the same photos: show differences with paired 95 %% intervals",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command with parsed options; raises `EovsegError` for what a person can put right."""
    from eovseg.evaluation import command

    command.run(options)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `python -m eovseg.evaluation`; errors that a person can act on are printed as one sentence."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation", description=__doc__)
    add_arguments(parser)
    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
