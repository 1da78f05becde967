"""The log of unexpected errors: users see one sentence, developers find the traceback here."""

import traceback
from datetime import datetime
from pathlib import Path

from eovseg.embeddings import default_cache_directory

_kept: set[tuple[tuple[str, int | None], ...]] = set()


def log_traceback(error: BaseException) -> str:
    """Appends the traceback to "errors.log" in the cache folder; returns " (traceback in PATH)" for use in a message.

    An error with the same stack is logged only once, so a bug that affects every photo of a large folder does not fill
    the disk. Returns "" if the log cannot be written.
    """
    path = default_cache_directory() / "errors.log"
    place = tuple((frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__))
    if place not in _kept:
        text = "".join(traceback.format_exception(error))
        try:
            _append(path, f"{datetime.now().isoformat(timespec='seconds')}\n{text}\n")
        except OSError:
            return ""
        _kept.add(place)
    return f" (traceback in {path})"


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
