"""`eovseg segment`: options, words and settings, and the run over photos."""

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, get_args

import numpy as np

from eovseg.background import with_other
from eovseg.checkpoints import default_checkpoint, file_digest
from eovseg.choices import Backend
from eovseg.command_words import read_words, tell_notes
from eovseg.errors import EovsegError
from eovseg.formats import FORMATS, with_needs
from eovseg.loading import load
from eovseg.model.config import Composition, Ensemble, Variant
from eovseg.predictor import Predictor
from eovseg.result import FILES, Result
from eovseg.segmenting.folder import Tally, Writing, segment_photos
from eovseg.segmenting.gathering import gather
from eovseg.segmenting.index import Index, owners
from eovseg.segmenting.photos import Photo, list_photos
from eovseg.segmenting.sharding import Shard, join_launcher, over_all, own_device
from eovseg.training.stopping import StopSignals
from eovseg.vocabulary import Vocabulary

THRESHOLDS = (
    "alpha",
    "beta",
    "score_threshold",
    "overlap_threshold",
    "void_threshold",
    "mask_threshold",
    "pixel_threshold",
)
STOPPED = 130
WRITE_HELP = f"write these files only; may be repeated: {', '.join(FILES)}; for other tools {', '.join(FORMATS)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eovseg segment`."""
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, folders or globs")
    parser.add_argument("-o", "--output", type=Path, help="folder of the results")
    parser.add_argument("--json", action="store_true", help="one JSON object a photo on standard output")
    add_model_arguments(parser)
    many = parser.add_argument_group("many photos")
    many.add_argument("-r", "--recursive", action="store_true", help="also the folders inside the given ones")
    many.add_argument("--write", action="append", choices=(*FILES, *FORMATS), metavar="FILE", help=WRITE_HELP)
    many.add_argument("--redo", action="store_true", help="segment again what an earlier run has finished")
    many.add_argument("--shard", type=Shard.parse, default=Shard(), metavar="I/N", help="part I of N, such as 2/4")
    many.add_argument("--workers", type=_count, default=2, metavar="N", help="threads that decode ahead (2)")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that photos and videos share: words, weights, and the settings of a result."""
    words = 'words ("dog; sky: stuff"), a preset or a file; again: those words too'
    parser.add_argument("-v", "--vocabulary", required=True, action="append", help=words)
    parser.add_argument("--background", help="words that only compete; what they win is one segment, other")
    parser.add_argument("--variant", default="xs", choices=get_args(Variant))
    parser.add_argument("--checkpoint", type=Path, help="an official .pth or a converted .safetensors file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64", "bfloat16"))
    parser.add_argument("--backend", default="torch", choices=get_args(Backend), help="openvino is fastest on CPUs")
    parser.add_argument("--task", default="panoptic", choices=("panoptic", "semantic", "instance"))
    parser.add_argument("--ensemble", choices=get_args(Ensemble))
    for name in THRESHOLDS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="0..1")
    parser.add_argument("--composition", choices=get_args(Composition), help="how kernels become panoptic segments")
    parser.add_argument(
        "--edges", action=argparse.BooleanOptionalAction, help="masks follow the photo's edges (panoptic only)"
    )


def given_words(options: argparse.Namespace, tell: bool = True) -> tuple[Vocabulary, Vocabulary | None]:
    """The words to be named, and those that only compete; what is to be said about them is printed with `tell`."""
    background = read_words(options.background, tell) if options.background else None
    words = reduce(add, map(Vocabulary.read, options.vocabulary))
    tell_notes(words, tell)
    return words, background


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Those settings of a result that were given; the model's own stand for the others."""
    names = ("task", "ensemble", *THRESHOLDS, "composition", "edges")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 64")
    return int(text)


@dataclass(frozen=True)
class Job:
    """What is asked of every photo: a network, words that are named, words that compete, settings of the result."""

    predictor: Predictor
    vocabulary: Vocabulary
    background: Vocabulary | None
    settings: dict[str, Any]

    def __call__(self, photo: np.ndarray) -> Result:
        return self.predictor(photo, self.vocabulary, background=self.background, **self.settings)

    @property
    def named(self) -> Vocabulary:
        """The words that a result's segments have: with a background also "other"."""
        return self.vocabulary if self.background is None else with_other(self.vocabulary)

    def digest(self, options: argparse.Namespace, files: tuple[str, ...]) -> str:
        """Short digest of all that decides what is written; a resumed run trusts results of the same digest only."""
        path = options.checkpoint or default_checkpoint(options.variant)
        parts = {
            "vocabulary": self.vocabulary.to_text(),
            "background": self.background.to_text() if self.background else None,
            "settings": self.settings,
            "variant": options.variant,
            "weights": file_digest(Path(path)) if path else None,
            "dtype": options.dtype,
            "backend": options.backend,
            "files": sorted(files),
        }
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def run(options: argparse.Namespace) -> int:
    """Segment everything; one photo that fails is reported and the rest goes on. Returns 1 when any failed."""
    if options.output is None and not options.json:
        raise EovsegError("Nowhere to put the results: give a folder with -o, or --json for standard output.")
    shard = options.shard.in_launcher()
    vocabulary, background = given_words(options, tell=not shard.rank)

    def tell(note: str) -> None:
        if not shard.rank:
            print(f"eovseg: {note}", file=sys.stderr)

    owned = owners(options.output) if options.output else None
    photos = list_photos(options.photos, options.recursive, options.output, owned, tell)
    join_launcher()
    predictor = load(options.variant, options.checkpoint, own_device(options.device), options.dtype, options.backend)
    job = Job(predictor, vocabulary, background, given_settings(options))
    with StopSignals() as signals:
        tally = _run_photos(options, job, photos, shard, signals)
    if tally.stopped:
        print("eovseg: stopped; what was finished is kept.", file=sys.stderr)
        return STOPPED
    everyone = over_all(tally)  # each process waits here, so the first one gathers all photos
    if options.output is not None and not shard.rank:
        files = with_needs(options.write or FILES)
        gather(options.output, job.digest(options, files), job.named, files)
    return _report(everyone, shard)


def _run_photos(
    options: argparse.Namespace, job: Job, photos: list[Photo], shard: Shard, signals: StopSignals
) -> Tally:
    """This process's share of the photos."""
    own = [photo for photo in photos if photo.share(shard.count) == shard.number]
    files = with_needs(options.write or FILES)
    writing = Writing(options.output, files, options.json)
    choices: dict[str, Any] = {"workers": options.workers, "redo": options.redo, "progress": not shard.rank}
    choices["stop"] = lambda: signals.received
    if options.output is None:
        return segment_photos(job, own, writing, **choices)
    try:
        index = Index(options.output, shard.index_name, job.digest(options, files), files)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EovsegError(f'Results cannot be written to "{options.output}" ({reason}).') from error
    with index:
        return segment_photos(job, own, writing, index, **choices)


def _report(tally: Tally, shard: Shard) -> int:
    """Say what was left out and what failed, once in a group; the exit code."""
    if shard.rank:
        return int(tally.failed > 0)
    if tally.skipped:
        print(
            f"eovseg: {tally.skipped:,} of {tally.photos:,} photos were finished already; --redo segments them again.",
            file=sys.stderr,
        )
    if tally.failed:
        print(f"eovseg: {tally.failed:,} of {tally.photos:,} photos could not be segmented.", file=sys.stderr)
    return int(tally.failed > 0)
