"""`eovseg doctor`: checks a list of words against photos."""

import argparse
import json
from dataclasses import asdict

from eovseg.advice.suggest_command import add_photos, photo_paths
from eovseg.command_options import (
    add_model_options,
    add_settings_options,
    chosen_model,
    chosen_settings,
    read_words,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `eovseg doctor`."""
    add_photos(parser)
    parser.add_argument("-v", "--vocabulary", help="required: the list as words, a preset or a file")
    add_model_options(parser)
    add_settings_options(parser, task=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the findings on all photos together, one per line."""
    words, settings = read_words(options.vocabulary, tell=True), chosen_settings(options)
    paths = photo_paths(options)
    found = chosen_model(options).doctor(paths, words, settings)
    print(json.dumps(asdict(found)) if options.json else "\n".join(found.lines()))
    return 0
