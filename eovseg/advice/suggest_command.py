"""`eovseg suggest`: the everyday nouns that are most likely in photos."""

import argparse
import json
import sys
from dataclasses import asdict

from eovseg.command_options import add_model_options, chosen_model
from eovseg.errors import EovsegError

MOST = 1000  # words per photo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `eovseg suggest`."""
    add_photos(parser)
    parser.add_argument("-k", type=_count, default=20, metavar="N", help="words per photo (20)")
    add_model_options(parser)
    parser.set_defaults(run=run)


def add_photos(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the photos, which `photo_paths` reads, and for JSON output."""
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, folders or globs")
    parser.add_argument("-r", "--recursive", action="store_true", help="include subfolders")
    parser.add_argument("--json", action="store_true", help="write JSON to standard output")


def photo_paths(options: argparse.Namespace) -> list[str]:
    """The paths of the given photos; raises `ImageError` for a folder or glob without photos."""
    from eovseg.segmenting.photos import list_photos

    return [photo.path for photo in list_photos(options.photos, options.recursive, note=_tell)]


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST:,}")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Prints one line of words for each photo; unreadable photos are reported and skipped."""
    paths, failed = photo_paths(options), 0
    predictor = chosen_model(options)
    for path in paths:
        try:
            found = predictor.suggest(path, options.k)
        except EovsegError as error:
            failed += 1
            _tell(str(error))
            continue
        if options.json:
            words = [{"word": one.word, **asdict(one)} for one in found]
            print(json.dumps({"photo": path, "words": words}), flush=True)
        else:
            print(f"{path}: {'; '.join(one.word for one in found)}", flush=True)
    return int(failed > 0)


def _tell(note: str) -> None:
    print(f"eovseg: {note}", file=sys.stderr)
