"""`eovseg data list`, `check` and `prepare`."""

import argparse
from pathlib import Path

from eovseg.data.check import QUICK_PHOTOS, check
from eovseg.data.data_sets import DATA_SET_NAMES, DATA_SETS, chosen_split, data_set, existing_splits
from eovseg.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommands to `parser`; each sets `run`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = commands.add_parser("list", help="list the data sets, their metrics and their download pages")
    listing.set_defaults(run=show_list)
    checking = commands.add_parser("check", help="report missing files and the first broken one")
    checking.add_argument("--quick", action="store_true", help=f"read only the first {QUICK_PHOTOS} annotations")
    checking.set_defaults(run=run_check)
    preparing = commands.add_parser("prepare", help="build the label files that the download lacks (resumable)")
    preparing.add_argument("--output", type=Path, help="output folder (default: the data set's folder)")
    preparing.set_defaults(run=run_prepare)
    for command in (checking, preparing):
        command.add_argument("name", metavar="NAME", choices=DATA_SET_NAMES, help="see `eovseg data list`")
        command.add_argument("root", metavar="ROOT", type=Path, help="the data set's folder or its parent")
        command.add_argument("--split", help="train or val; also all for your own folders (default: every split found)")


def show_list(_: argparse.Namespace) -> int:
    """Prints one line per data set."""
    width = max(map(len, DATA_SET_NAMES))
    for layout in DATA_SETS:
        prepared = ", built by `prepare`" if layout.prepare else ""
        print(f"{layout.name:{width}}  {layout.title}: {layout.measures}{prepared}; {layout.page}")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Prints the report; returns 1 if a required file is missing or broken."""
    layout = data_set(options.name)
    splits = [chosen_split(layout, options.split)] if options.split else existing_splits(layout, options.root)
    failed = False
    for split in splits:
        report = check(options.name, options.root, split, QUICK_PHOTOS if options.quick else None)
        print("\n".join(report.lines()))
        failed = failed or not report.ok
    return int(failed)


def run_prepare(options: argparse.Namespace) -> int:
    """Builds the panoptic files or masks of each split."""
    layout = data_set(options.name)
    if layout.prepare is None:
        raise ConfigError(f"{layout.title} needs no preparation. Check it with `eovseg data check {layout.name} ROOT`.")
    for split in [chosen_split(layout, options.split)] if options.split else layout.splits:
        print(layout.prepare(options.root, split, options.output))
    return 0
