"""Segments a list of photos: decodes in advance, writes files atomically, and records each photo in the index."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from eovseg.error_log import log_traceback
from eovseg.errors import EovsegError, ImageError
from eovseg.formats import FILES
from eovseg.formats.photo import PhotoFile
from eovseg.images import load_image
from eovseg.result import Result
from eovseg.segmenting.index import Index
from eovseg.segmenting.photos import Photo
from eovseg.segmenting.prefetch import prefetch

_WAITING = 2  # decoded photos in addition to the current one
_SHOWN = 5  # names printed for each photo


@dataclass
class Tally:
    """Numbers of photos segmented, skipped as already finished, and failed; whether a signal stopped the run."""

    segmented: int = 0
    skipped: int = 0
    failed: int = 0
    stopped: bool = field(default=False, kw_only=True)

    @property
    def photos(self) -> int:
        return self.segmented + self.skipped + self.failed


@dataclass(frozen=True)
class Destination:
    """The destination of results: the file kinds `files` below `output`, and standard output. For each photo, one line
    is printed: where its files are, or with `to_stdout` its result as JSON.
    """

    output: Path | None = None
    files: tuple[str, ...] = tuple(FILES)
    to_stdout: bool = False


def segment_photos(
    segment: Callable[[np.ndarray], Result],
    photos: Sequence[Photo],
    destination: Destination,
    index: Index | None = None,
    *,
    workers: int = 2,
    redo: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Tally:
    """Runs `segment` on every photo not marked as finished in `index` (on every photo with `redo`).

    A photo that fails for any reason is reported on standard error, recorded and skipped. `stop` is polled after each
    photo. Memory use does not depend on the number of photos. Raises `EovsegError` for errors that affect all photos:
    results cannot be written, or a setting is invalid.
    """
    tally = Tally()
    todo = [photo for photo in photos if redo or index is None or not index.finished(photo)]
    tally.skipped = len(photos) - len(todo)
    hidden = None if progress else True  # None: hidden if not a terminal
    with tqdm(total=len(photos), initial=tally.skipped, unit="photo", disable=hidden) as bar:
        for photo, pixels in prefetch(todo, _load, workers, workers + _WAITING if workers else 0):
            try:
                result = replace(segment(pixels()), name=Path(photo.path).name)
            except Exception as error:
                if isinstance(error, EovsegError) and not isinstance(error, ImageError):
                    raise
                sentence = _sentence(photo, error)
                tally.failed += 1
                tqdm.write(f"eovseg: {sentence}", file=sys.stderr)
                if index is not None:
                    index.add_failure(photo, sentence)
            else:
                _write(photo, result, destination, index)
                tally.segmented += 1
                del result
            bar.update()
            if stop():
                tally.stopped = True
                break
    return tally


def _load(photo: Photo) -> np.ndarray:
    return load_image(photo.path)


def _sentence(photo: Photo, error: Exception) -> str:
    """One-line reason why a photo has no result."""
    if isinstance(error, ImageError):
        return str(error)
    name = Path(photo.path).name
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return f'"{name}" needs more memory than available; scale it down or use a smaller variant.'
    lines = str(error).splitlines() or ["no reason given"]
    reason = f"{type(error).__name__}: {lines[0].rstrip('.')}"
    kept = log_traceback(error)
    return f'"{name}" could not be segmented ({reason}){kept}; the other photos are not affected.'


def _found(result: Result) -> str:
    """The number of segments with the names and shares of the largest, "2 segments (bear: 74 %, grass: 21 %)"."""
    rows = sorted(zip(result.names, result.segments, strict=True), key=lambda row: -row[1].area)
    shares = [(name, 100 * segment.area / result.segment_map.size) for name, segment in rows[:_SHOWN]]
    shown = [f"{name}: {share:.0f} %" if share >= 1 else f"{name}: < 1 %" for name, share in shares]
    more = ["…"] if len(rows) > _SHOWN else []
    count = "1 segment" if len(rows) == 1 else f"{len(rows)} segments"
    return f"{count} ({', '.join(shown + more)})" if rows else count


def _write(photo: Photo, result: Result, destination: Destination, index: Index | None) -> None:
    files: list[Path] = []
    if destination.output is not None:
        name = PurePath(photo.path).name
        named = PhotoFile(f"{photo.folder}/{name}" if photo.folder else name, Path(photo.path))
        files = result.write(destination.output, photo.target, destination.files, named)
    if index is not None:
        index.add(photo, result, files)
    if destination.to_stdout:
        line: dict[str, Any] = {**result.to_json(), "photo": photo.path, "files": [str(path) for path in files]}
        print(json.dumps(line), flush=True)
    elif files:
        more = {1: "", 2: " and 1 more file"}.get(len(files), f" and {len(files) - 1} more files")
        tqdm.write(f"{photo.path}: {_found(result)}, written to {files[0]}{more}")
        sys.stdout.flush()
