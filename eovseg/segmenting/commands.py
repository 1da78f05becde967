"""`eovseg segment`: its options, and the run over photos."""

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.command_options import (
    add_model_options,
    add_settings_options,
    add_word_options,
    chosen_model,
    chosen_settings,
    chosen_words,
)
from eovseg.errors import EovsegError
from eovseg.formats import FILES, FORMATS, with_needs
from eovseg.segmenting.sharding import Shard, join_launcher, over_all, own_device
from eovseg.settings import Settings
from eovseg.stopping import STOPPED, StopSignals
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.predictor import Predictor
    from eovseg.result import Result
    from eovseg.segmenting.folder import Tally
    from eovseg.segmenting.photos import Photo

WRITE_HELP = f"write only this file, repeatable: {', '.join(FILES)}; for other tools: {', '.join(FORMATS)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `eovseg segment`."""
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, folders or glob patterns")
    parser.add_argument("-o", "--output", type=Path, help="output folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object per photo to standard output")
    add_word_options(parser)
    add_model_options(parser)
    add_settings_options(parser)
    many = parser.add_argument_group("many photos")
    many.add_argument("-r", "--recursive", action="store_true", help="include subfolders")
    many.add_argument("--write", action="append", choices=(*FILES, *FORMATS), metavar="FILE", help=WRITE_HELP)
    many.add_argument("--redo", action="store_true", help="segment photos again that are already finished")
    many.add_argument("--shard", type=Shard.parse, default=Shard(), metavar="I/N", help="part I of N, e.g. 2/4")
    many.add_argument("--workers", type=_count, default=2, metavar="N", help="decoding threads (default: 2)")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to 64")
    return int(text)


@dataclass(frozen=True)
class Job:
    """How every photo is segmented: the network, the vocabulary, the background and the settings."""

    predictor: "Predictor"
    vocabulary: Vocabulary
    background: Vocabulary | None
    settings: Settings

    def __call__(self, photo: np.ndarray) -> "Result":
        return self.predictor(photo, self.vocabulary, background=self.background, settings=self.settings)

    @property
    def named(self) -> Vocabulary:
        """The vocabulary of the results, which includes "other" if there is a background."""
        from eovseg.background import with_other

        return self.vocabulary if self.background is None else with_other(self.vocabulary)

    def digest(self, options: argparse.Namespace, files: tuple[str, ...]) -> str:
        """Digest of everything that affects the output; a resumed run skips only results with the same digest."""
        from eovseg.checkpoints import default_checkpoint, file_digest

        variant = self.predictor.config.variant
        path = options.checkpoint or default_checkpoint(variant)
        parts = {
            "vocabulary": self.vocabulary.to_text(),
            "background": self.background.to_text() if self.background else None,
            "settings": {"task": self.settings.task, **self.settings.given()},
            "variant": variant,
            "weights": file_digest(Path(path)) if path else None,
            "dtype": options.dtype,
            "backend": options.backend,
            "files": sorted(files),
        }
        return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def run(options: argparse.Namespace) -> int:
    """Segments all photos; a failed photo is reported and skipped. Returns 1 if any failed."""
    from eovseg.segmenting.gathering import gather
    from eovseg.segmenting.index import owners
    from eovseg.segmenting.photos import list_photos

    if options.output is None and not options.json:
        raise EovsegError("No output was given: give a folder with -o, or --json for standard output.")
    shard, settings = options.shard.in_launcher(), chosen_settings(options)
    vocabulary, background = chosen_words(options, tell=not shard.rank)

    def tell(note: str) -> None:
        if not shard.rank:
            print(f"eovseg: {note}", file=sys.stderr)

    owned = owners(options.output) if options.output else None
    photos = list_photos(options.photos, options.recursive, options.output, owned, tell)
    join_launcher()
    job = Job(chosen_model(options, own_device(options.device)), vocabulary, background, settings)
    with StopSignals() as signals:
        tally = _run_photos(options, job, photos, shard, signals)
    if tally.stopped:
        print("eovseg: stopped; finished results are kept.", file=sys.stderr)
        return STOPPED
    everyone = over_all(tally)  # waits for all processes, so that the first one gathers all photos
    if options.output is not None and not shard.rank:
        files = with_needs(options.write or FILES)
        gather(options.output, job.digest(options, files), job.named, files)
    return _report(everyone, shard)


def _run_photos(
    options: argparse.Namespace, job: Job, photos: "list[Photo]", shard: Shard, signals: StopSignals
) -> "Tally":
    """Segments this process's share of the photos."""
    from eovseg.segmenting.folder import Writing, segment_photos
    from eovseg.segmenting.index import Index

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


def _report(tally: "Tally", shard: Shard) -> int:
    """Prints the numbers of skipped and failed photos, once per group; returns the exit code."""
    if shard.rank:
        return int(tally.failed > 0)
    if tally.skipped:
        print(
            f"eovseg: {tally.skipped:,} of {tally.photos:,} photos were already finished; --redo segments them again.",
            file=sys.stderr,
        )
    if tally.failed:
        print(f"eovseg: {tally.failed:,} of {tally.photos:,} photos could not be segmented.", file=sys.stderr)
    return int(tally.failed > 0)
