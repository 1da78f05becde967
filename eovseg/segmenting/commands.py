"""`eovseg segment`: its options, and the segmentation of the photos."""

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass, replace
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
from eovseg.errors import ConfigError, EovsegError
from eovseg.formats import FILES, FORMATS, PICTURES, WRITERS, with_needs
from eovseg.segmenting.sharding import Shard, join_launcher, local_device, summed_counts
from eovseg.settings import Settings
from eovseg.stopping import STOPPED, StopSignals
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.predictor import Predictor
    from eovseg.result import Result
    from eovseg.segmenting.folder import Tally
    from eovseg.segmenting.photos import Photo

WRITE_HELP = (
    f"write only these files, separated by commas: {', '.join(FILES)}; for other tools: {', '.join(FORMATS)}; "
    f"pictures: {', '.join(PICTURES)}"
)


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
    many.add_argument("--write", action="extend", type=_kinds, metavar="FILE", help=WRITE_HELP)
    subject = "word that spotlight, blurred and grey keep in front; repeat for several (default: all things)"
    many.add_argument("--subject", action="append", default=[], metavar="WORD", help=subject)
    many.add_argument("--redo", action="store_true", help="segment photos again that are already finished")
    many.add_argument(
        "--shard", type=Shard.parse, default=Shard(), metavar="I/N", help="segment only part I of N, e.g. 2/4"
    )
    many.add_argument("--workers", type=_count, default=2, metavar="N", help="threads that decode photos (default: 2)")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 to 64")
    return int(text)


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    if unknown := [kind for kind in kinds if kind not in FILES and kind not in WRITERS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join((*FILES, *WRITERS))}")
    return kinds


@dataclass(frozen=True)
class Job:
    """How every photo is segmented: the network, the vocabulary, the background and the settings.

    `subject`: the words that pictures keep in front.
    """

    predictor: "Predictor"
    vocabulary: Vocabulary
    background: Vocabulary | None
    settings: Settings
    subject: tuple[str, ...] = ()

    def __call__(self, photo: np.ndarray) -> "Result":
        result = self.predictor(photo, self.vocabulary, background=self.background, settings=self.settings)
        return replace(result, subject=self.subject)

    @property
    def named(self) -> Vocabulary:
        """The vocabulary of the results, which includes "other" if there is a background."""
        from eovseg.background import with_other_class

        return self.vocabulary if self.background is None else with_other_class(self.vocabulary)

    def digest(self, options: argparse.Namespace, files: tuple[str, ...]) -> str:
        """Digest of everything that affects the output; a resumed run skips only results with the same digest."""
        parts: dict[str, Any] = {
            "vocabulary": self.vocabulary.to_text(),
            "background": self.background.to_text() if self.background else None,
            "settings": {"task": self.settings.task, **self.settings.given()},
            "variant": self.predictor.config.variant,
            "weights": self.predictor.weights,
            "dtype": options.dtype,
            "backend": options.backend,
            "files": sorted(files),
        } | ({"subject": self.subject} if self.subject else {})
        both = (self.vocabulary, self.background)
        if examples := [word.digest for words in both if words for word in words.examples.values()]:
            parts["examples"] = examples
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
    if unknown := [word for word in options.subject if word not in vocabulary.labels]:
        known = ", ".join(vocabulary.labels[:12]) + (", …" if len(vocabulary) > 12 else "")
        raise ConfigError(f'--subject "{unknown[0]}" is not among the words; choose from {known}.')

    def tell(note: str) -> None:
        if not shard.rank:
            print(f"eovseg: {note}", file=sys.stderr)

    owned = owners(options.output) if options.output else None
    photos = list_photos(options.photos, options.recursive, options.output, owned, tell)
    join_launcher()
    predictor = chosen_model(options, local_device(options.device))
    job = Job(predictor, vocabulary, background, settings, tuple(options.subject))
    with StopSignals() as signals:
        tally = _run_photos(options, job, photos, shard, signals)
    if tally.stopped:
        print("eovseg: stopped; finished results are kept.", file=sys.stderr)
        return STOPPED
    everyone = summed_counts(tally)  # waits for all processes, so that the first one gathers all photos
    if options.output is not None and not shard.rank:
        files = with_needs(options.write or FILES)
        gather(options.output, job.digest(options, files), job.named, files)
    return _report(everyone, shard)


def _run_photos(
    options: argparse.Namespace, job: Job, photos: "list[Photo]", shard: Shard, signals: StopSignals
) -> "Tally":
    """Segments this process's share of the photos."""
    from eovseg.segmenting.folder import Destination, segment_photos
    from eovseg.segmenting.index import Index

    own = [photo for photo in photos if photo.share(shard.count) == shard.number]
    files = with_needs(options.write or FILES)
    destination = Destination(options.output, files, options.json)
    choices: dict[str, Any] = {"workers": options.workers, "redo": options.redo, "progress": not shard.rank}
    choices["stop"] = lambda: signals.received
    if options.output is None:
        return segment_photos(job, own, destination, **choices)
    try:
        index = Index(options.output, shard.index_name, job.digest(options, files), files)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EovsegError(f'Results cannot be written to "{options.output}" ({reason}).') from error
    with index:
        return segment_photos(job, own, destination, index, **choices)


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
