"""`eovseg` and `python -m eovseg`: segment photos, fetch and convert checkpoints, train, evaluate, check data sets.

Errors that a person can act on are one sentence on standard error; exit code 1 when something failed, 2 for wrong
options.
"""

import argparse
import glob
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from eovseg.data import commands as data_commands
from eovseg.errors import EovsegError, ImageError
from eovseg.model.config import Ensemble, Variant
from eovseg.vocabulary import Vocabulary

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except EovsegError as error:
        print(f"eovseg: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"eovseg: {error.filename or 'the output'}: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("eovseg: stopped; what was finished is kept.", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="eovseg", description="Open-vocabulary panoptic segmentation.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    segment = commands.add_parser("segment", help="segment photos, folders or globs with your words")
    _add_segment_options(segment)
    segment.set_defaults(run=segment_photos)
    fetch = commands.add_parser("download", help="fetch the authors' checkpoint of S, M or L (resumes)")
    fetch.add_argument("variant", choices=("s", "m", "l"))
    fetch.set_defaults(run=_download)
    conversion = commands.add_parser("convert", help="turn a checkpoint into safetensors with a config header")
    conversion.add_argument("source", metavar="IN", type=Path)
    conversion.add_argument("target", metavar="OUT", type=Path)
    conversion.set_defaults(run=_convert)
    _add_training(commands)
    data = commands.add_parser("data", help="list, check and prepare data sets")
    data_commands.add_arguments(data)
    return parser


def _add_training(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from eovseg.evaluation import __main__ as evaluation
    from eovseg.training import __main__ as training
    from eovseg.training import export

    train = commands.add_parser("train", help="train a variant or one of its ablations")
    training.add_arguments(train)
    train.set_defaults(run=_train)
    exporting = commands.add_parser("export", help="turn a training checkpoint into a weight file")
    export.add_arguments(exporting)
    exporting.set_defaults(run=export.run)
    evaluate = commands.add_parser("evaluate", help="PQ, AP, mIoU and calibration on labelled photos")
    evaluation.add_arguments(evaluate)
    evaluate.set_defaults(run=evaluation.run)


def _train(options: argparse.Namespace) -> None:
    from eovseg.training.__main__ import train

    train(options)


def _add_segment_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="files, folders or globs")
    words = 'words ("dog; sky: stuff"), a preset or a file; again: those words too'
    parser.add_argument("-v", "--vocabulary", required=True, action="append", help=words)
    parser.add_argument("--background", help="words that only compete; what they win is one segment, other")
    parser.add_argument("-o", "--output", type=Path, help="folder of the results")
    parser.add_argument("--json", action="store_true", help="one JSON object a photo on standard output")
    parser.add_argument("--variant", default="xs", choices=get_args(Variant))
    parser.add_argument("--checkpoint", type=Path, help="an official .pth or a converted .safetensors file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64", "bfloat16"))
    parser.add_argument("--task", default="panoptic", choices=("panoptic", "semantic", "instance"))
    parser.add_argument("--ensemble", choices=get_args(Ensemble))
    for name in ("alpha", "beta", "score-threshold", "overlap-threshold", "void-threshold"):
        parser.add_argument(f"--{name}", type=float, metavar="0..1")


def segment_photos(options: argparse.Namespace) -> int:
    """Segment every photo; one that fails is reported and the rest goes on. Returns 1 when any failed."""
    from eovseg.predictor import load

    if options.output is None and not options.json:
        raise EovsegError("Nowhere to put the results: give a folder with -o, or --json for standard output.")
    vocabulary = reduce(add, map(Vocabulary.read, options.vocabulary))
    background = Vocabulary.read(options.background) if options.background else None
    for note in vocabulary.notes:
        print(f"eovseg: {note}", file=sys.stderr)
    photos = list(_expand(options.photos))
    predictor = load(options.variant, options.checkpoint, options.device, options.dtype)
    names = ("task", "alpha", "beta", "ensemble", "score_threshold", "overlap_threshold", "void_threshold")
    settings = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    failed = 0
    stems = _unique_stems(photos)
    for photo, stem in zip(tqdm(photos, unit="photo", disable=None), stems, strict=True):
        try:
            result = predictor(photo, vocabulary, background=background, **settings)
        except ImageError as error:
            failed += 1
            print(f"eovseg: {error}", file=sys.stderr)
            continue
        files = result.save(options.output, stem=stem) if options.output else []
        if options.json:
            print(json.dumps({**result.to_json(), "photo": str(photo), "files": [str(f) for f in files]}), flush=True)
    if failed:
        print(f"eovseg: {failed} of {len(photos)} photos could not be segmented.", file=sys.stderr)
    return int(failed > 0)


def _expand(given: Iterable[str]) -> Iterator[Path]:
    """Files as they are, folders as the photos inside (sorted), globs as what they match."""
    for text in given:
        path = Path(text)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES)
            if not found:
                raise ImageError(f"The folder {text} holds no photo ({', '.join(PHOTO_SUFFIXES)}).")
            yield from found
        elif glob.has_magic(text) and not path.exists():
            matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns too)
            if not matches:
                raise ImageError(f"No file matches {text}.")
            yield from (Path(match) for match in matches)
        else:
            yield path


def _unique_stems(photos: Sequence[Path]) -> list[str]:
    """Names of the results: the photo's own, with its folder's in front where two photos share it."""
    shared = Counter(photo.stem for photo in photos)
    return [f"{photo.resolve().parent.name}-{photo.stem}" if shared[photo.stem] > 1 else photo.stem for photo in photos]


def _download(options: argparse.Namespace) -> int:
    from eovseg.checkpoints import download

    print(download(options.variant))
    return 0


def _convert(options: argparse.Namespace) -> int:
    from eovseg.checkpoints import convert

    checkpoint = convert(options.source, options.target)
    print(f"{options.target}: EOV-Seg {checkpoint.config.variant.upper()}, {len(checkpoint.tensors)} tensors")
    return 0
