"""Segments many photos, or a short clip, one after the other with the words and settings of a session.

Every photo and every frame is a separate request to the worker pool, so that other visitors are served in between, and
the model is free as soon as a visitor leaves. A run writes its files to a temporary folder and offers them as a ZIP.
"""

import csv
import io
import json
import logging
import os
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

from app.limits import CLIP_SIDE, MAX_CLIP_FRAMES, MAX_CLIP_SECONDS, MAX_FILES, RUN_SECONDS
from app.pictures import data_address, downscaled
from app.session import LONGEST_SIDE, Request, composed, page_sized
from app.worker_pool import VisitorLeft
from eovseg.colours import segment_colours
from eovseg.errors import ConfigError, EovsegError
from eovseg.formats.archive import add_files
from eovseg.images import load_image
from eovseg.predictor import Predictor
from eovseg.result import Result, plain_cell
from eovseg.stems import clean_stem
from eovseg.video.frames import Frame, FrameSegmenter
from eovseg.video.reading import Picture, VideoReader
from eovseg.video.writing import write_video

_LOG = logging.getLogger(__name__)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi")
CARD_SIDE = 360  # longer side of a gallery picture, pixels
MAX_CARDS = 24  # gallery pictures of a clip, evenly spaced
_SHOWN_NAMES = 6
FAILED = "The model failed on this photo; see the server's log."
RunInPool = Callable[[Callable[[], Any]], Any]  # `WorkerPool.run`: queues work, returns its value or raises its error


@dataclass(frozen=True)
class Upload:
    """An uploaded file with the name it has on the visitor's computer."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


@dataclass
class Progress:
    """One run of the tab Many so far: gallery cards in order, word counts and how many pictures are done.

    `rows` are the rows of the table of all segments.
    """

    token: str
    of: int
    clip: bool = False
    done: int = 0
    made: int = 0  # those of `done` that have a result
    cards: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    state: str = "running"

    def value(self) -> dict[str, Any]:
        """The data for app/tabs/many.js."""
        shown = {name: getattr(self, name) for name in ("token", "of", "clip", "done", "made", "note", "state")}
        return {**shown, "cards": list(self.cards), "words": self._words()}

    def _words(self) -> list[dict[str, Any]]:
        """For each word, most frequent first: number of pictures and segments, mean score and share (both 0..1)."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            found.setdefault(row["class"], []).append(row)
        words = [
            {
                "word": word,
                "pictures": len({row["number"] for row in rows}),
                "segments": len(rows),
                "score": float(np.mean([row["score"] for row in rows])),
                "share": sum(row["share"] for row in rows) / self.made,
            }
            for word, rows in found.items()
        ]
        return sorted(words, key=lambda one: (-int(one["pictures"]), -float(one["share"])))

    def add(self, picture: str, result: Result, seconds: float, card: bool = True, stem: str = "") -> None:
        """Adds the result of a picture, whose files begin with `stem`; `card` says whether the gallery shows it."""
        pixels = result.segment_map.size
        for segment, name in zip(result.named, result.names, strict=False):
            self.rows.append(
                {
                    "number": self.done, "picture": picture, "files": stem, "name": name, "class": segment.label,
                    "kind": "thing" if segment.is_thing else "stuff", "score": segment.score,
                    "share": segment.area / pixels,
                }
            )  # fmt: skip
        self.done += 1
        self.made += 1
        if card:
            self.cards.append({"name": picture, "seconds": round(seconds, 2), **_card(result)})

    def fail(self, picture: str, sentence: str) -> None:
        self.done += 1
        self.cards.append({"name": picture, "error": sentence})

    def table_csv(self) -> str:
        """A CSV table of every segment of every picture."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("picture", "files", "name", "class", "kind", "score", "share"))
        for row in self.rows:
            words = (plain_cell(str(row[name])) for name in ("picture", "files", "name", "class"))
            writer.writerow((*words, row["kind"], f"{row['score']:.4f}", f"{row['share']:.5f}"))
        return text.getvalue()


def uploaded(files: object) -> list[Upload]:
    """Checks the uploads that an event of the page names: photos, or one clip.

    Raises `ConfigError` for too many files, for photos together with a clip, and for paths that were not uploaded.
    """
    listed = files if isinstance(files, list) else []
    if not listed:
        raise ConfigError("Choose some photos or a clip first.")
    if len(listed) > MAX_FILES:
        raise ConfigError(f"{len(listed):,} files are too many; choose at most {MAX_FILES} photos.")
    folder = os.path.realpath(get_upload_folder())
    uploads = []
    for entry in listed:
        path, name = (entry.get(key) if isinstance(entry, dict) else None for key in ("path", "name"))
        if not isinstance(path, str) or not isinstance(name, str) or "\0" in path:
            raise ConfigError("A file was not uploaded to this page; choose it again.")
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(folder) or not os.path.isfile(real):  # noqa: PTH113 (see app/gate.py)
            raise ConfigError("A file was not uploaded to this page, or has been deleted; choose it again.")
        uploads.append(Upload(real, PurePath(name[:200]).name or "photo"))
    if any(one.is_video for one in uploads) and len(uploads) > 1:
        raise ConfigError("Choose either photos or a single clip.")
    return uploads


def segment_photos(
    run: RunInPool,
    predictor: Predictor,
    request: Request,
    uploads: list[Upload],
    progress: Progress,
    folder: Path,
    is_current: Callable[[], bool],
) -> Iterator[None]:
    """Segments the photos in order, yields after each, and writes the files of the results to `folder`.

    Stops before a photo if `is_current()` is false. Raises `VisitorLeft`.
    """
    stems = file_stems([one.name for one in uploads])
    shrunk: list[str] = []  # names of the photos that were scaled down
    end = time.monotonic() + RUN_SECONDS

    def work(photo: Upload, stem: str) -> Result:
        image, shrunk_from = page_sized(load_image(photo.path))
        state = predictor.encode_image(image)
        result = composed(predictor, predictor.decode(state, request.vocabulary), request)
        result = replace(result, name=photo.name)
        result.write(folder, stem)
        shrunk.extend([photo.name] if shrunk_from else [])
        return result

    for photo, stem in zip(uploads, stems, strict=True):
        if not is_current() or time.monotonic() > end:
            progress.note = f"{_ended_early(progress, 'photos')} {progress.note}".rstrip()
            return
        begin = time.perf_counter()
        try:
            result = run(partial(work, photo, stem))
        except VisitorLeft:
            raise
        except EovsegError as error:
            progress.fail(photo.name, str(error).replace(photo.path.name, photo.name))
        except Exception:
            _LOG.exception("A photo of many failed")
            progress.fail(photo.name, FAILED)
        else:
            progress.add(photo.name, result, time.perf_counter() - begin, stem=stem)
        if shrunk:
            photos = f"{len(shrunk):,} photos were" if len(shrunk) > 1 else f'"{shrunk[0]}" was'
            progress.note = f"{photos} scaled down to {LONGEST_SIDE:,} pixels for this page; the files have that size."
        yield


def file_stems(names: list[str]) -> list[str]:
    """File name stems for the photos: their own names, with "-2", "-3", … added to duplicates."""
    taken: set[str] = set()
    stems = []
    for name in names:
        stem = own = clean_stem(PurePath(name).stem)
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{own}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def segment_clip(
    run: RunInPool,
    predictor: Predictor,
    request: Request,
    clip: Upload,
    progress: Progress,
    folder: Path,
    is_current: Callable[[], bool],
) -> Iterator[None]:
    """Segments evenly spaced frames of a clip, yields after each, and writes video and tracks to `folder`.

    Raises `VideoError` if the file is not a video, and `VisitorLeft`.
    """
    (stem,) = file_stems([clip.name])
    end = time.monotonic() + RUN_SECONDS
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(clip.path, end=MAX_CLIP_SECONDS, untrusted=True))
        frames = reader.expected or round(MAX_CLIP_SECONDS * reader.rate)
        every = max(1, -(-frames // MAX_CLIP_FRAMES))
        progress.of = max(1, -(-frames // every))
        each_card = max(1, -(-progress.of // MAX_CARDS))
        segmenter = FrameSegmenter(predictor, request.words, request.background, every=every, settings=request.settings)
        writer = stack.enter_context(write_video(folder / f"{stem}-segments.mp4", reader.rate, reader.time_base))
        tracks = stack.enter_context((folder / f"{stem}-tracks.jsonl").open("w", encoding="utf-8", errors="replace"))
        pictures = reader.read()
        stack.callback(pictures.close)
        for picture in pictures:
            if not isinstance(picture, Picture):
                continue
            if not is_current() or time.monotonic() > end:
                progress.note = _ended_early(progress, "frames")
                break
            begin = time.perf_counter()
            picture = replace(picture, image=_clip_sized(picture.image))
            frame: Frame = run(partial(segmenter, picture))
            writer.write(np.asarray(frame.overlay()), picture)
            if frame.is_new:
                tracks.write(json.dumps(frame.to_json(), ensure_ascii=False) + "\n")
                name = f"{frame.time:.1f} s"
                is_card = progress.done % each_card == 0
                progress.add(name, frame.result, time.perf_counter() - begin, is_card, stem)
                yield


def pack(folder: Path, progress: Progress, path: Path) -> Path:
    """Writes the ZIP of all files in `folder` and the table of all segments to `path`; returns `path`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("table.csv", progress.table_csv())
        add_files(packed, folder)
    return path


def _card(result: Result) -> dict[str, Any]:
    """The gallery card of a result: a small picture, its most frequent words, and how many more there are."""
    picture = downscaled(result, CARD_SIDE).overlay(0.5, labels=False)
    picture.thumbnail((CARD_SIDE, CARD_SIDE))
    counts = Counter(segment.label for segment in result.named)
    colours = {
        segment.label: "#" + bytes(colour).hex()
        for segment, colour in zip(reversed(result.named), reversed(segment_colours(result.named)), strict=True)
    }
    words = [
        {"word": word, "count": count, "colour": colours[word]} for word, count in counts.most_common(_SHOWN_NAMES)
    ]
    return {
        "source": data_address(picture, "JPEG", quality=80),
        "words": words,
        "more": max(0, len(counts) - _SHOWN_NAMES),
    }


def _clip_sized(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = CLIP_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2))


def _ended_early(progress: Progress, what: str) -> str:
    return f"Stopped after {progress.done:,} of {progress.of:,} {what}; the results up to then are kept."
