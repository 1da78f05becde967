"""Photos one after the other, from names to files: decoded ahead, written whole, noted in the index."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from eovseg.error_log import keep_traceback
from eovseg.errors import EovsegError, ImageError
from eovseg.formats import FILES
from eovseg.formats.photo import PhotoFile
from eovseg.images import load_image
from eovseg.result import Result
from eovseg.segmenting.index import Index
from eovseg.segmenting.photos import Photo
from eovseg.segmenting.prefetch import ahead

_WAITING = 2  # decoded photos beside the one that is being segmented


@dataclass
class Tally:
    """How a run went: photos segmented, finished by an earlier run, failed; whether a signal cut it short."""

    segmented: int = 0
    skipped: int = 0
    failed: int = 0
    stopped: bool = field(default=False, kw_only=True)

    @property
    def photos(self) -> int:
        return self.segmented + self.skipped + self.failed


@dataclass(frozen=True)
class Writing:
    """Where results go: files of the kinds `files` below `output`, one JSON object a photo on standard output."""

    output: Path | None = None
    files: tuple[str, ...] = tuple(FILES)
    to_stdout: bool = False


def segment_photos(
    segment: Callable[[np.ndarray], Result],
    photos: Sequence[Photo],
    writing: Writing,
    index: Index | None = None,
    *,
    workers: int = 2,
    redo: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> Tally:
    """Run `segment` on every photo that `index` does not know as finished (on every one with `redo`).

    One that fails, for whatever reason, is reported on standard error and noted, and the rest goes on. `stop` is asked
    after each photo. Memory does not depend on how many photos there are. Raises `EovsegError` where results cannot be
    written or a setting is not allowed, which no other photo would mend.
    """
    tally = Tally()
    todo = [photo for photo in photos if redo or index is None or not index.finished(photo)]
    tally.skipped = len(photos) - len(todo)
    hidden = None if progress else True  # None: where nobody watches
    with tqdm(total=len(photos), initial=tally.skipped, unit="photo", disable=hidden) as bar:
        for photo, pixels in ahead(todo, _load, workers, workers + _WAITING if workers else 0):
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
                _write(photo, result, writing, index)
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
    """Why a photo has no result, in one line."""
    if isinstance(error, ImageError):
        return str(error)
    name = Path(photo.path).name
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return f'"{name}" needs more memory than there is; scale it down or take a smaller variant.'
    lines = str(error).splitlines() or ["no reason given"]
    reason = f"{type(error).__name__}: {lines[0].rstrip('.')}"
    kept = keep_traceback(error)
    return f'"{name}" could not be segmented ({reason}){kept}; the other photos are not affected.'


def _write(photo: Photo, result: Result, writing: Writing, index: Index | None) -> None:
    files: list[Path] = []
    if writing.output is not None:
        name = PurePath(photo.path).name
        named = PhotoFile(f"{photo.folder}/{name}" if photo.folder else name, Path(photo.path))
        files = result.write(writing.output, photo.target, writing.files, named)
    if index is not None:
        index.add(photo, result, files)
    if writing.to_stdout:
        line: dict[str, Any] = {**result.to_json(), "photo": photo.path, "files": [str(path) for path in files]}
        print(json.dumps(line), flush=True)
