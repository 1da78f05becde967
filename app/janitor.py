"""Limits a server's memory and disk use: drops sessions, messages and files that were not used for a while."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from app.gradio_internals import forget_callers, forget_messages
from app.limits import FILE_SECONDS, FILES_BYTES, SESSION_SECONDS
from app.session import SessionStore
from eovseg.benchmark.memory import return_free_memory

_LOG = logging.getLogger(__name__)
ROUND_SECONDS = 20.0
MIN_AGE_SECONDS = 120.0  # younger files may belong to a queued request, so they stay even beyond `FILES_BYTES`


class Janitor:
    """A thread that cleans up every twenty seconds within the `with` block."""

    def __init__(self, blocks: Any, store: SessionStore, seconds: float = ROUND_SECONDS) -> None:
        self._blocks, self._store, self._seconds = blocks, store, seconds
        self._unread: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="janitor", daemon=True)

    def __enter__(self) -> "Janitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _rounds(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.tidy()
            except Exception:  # a failed round must not end the thread
                _LOG.exception("Cleaning up failed; the next round tries again")

    def tidy(self, now: float | None = None) -> None:
        """Runs one round; `now` is in seconds since 1970."""
        now = time.time() if now is None else now
        self._store.expire(SESSION_SECONDS, now)
        delete_files(Path(get_upload_folder()), now)
        forget_callers(self._blocks, now, SESSION_SECONDS)
        forget_messages(self._blocks, self._unread, now, FILE_SECONDS / 12)
        return_free_memory()


def delete_files(folder: Path, now: float) -> None:
    """Deletes the files of `folder` older than `FILE_SECONDS`, then the oldest ones until `FILES_BYTES` suffice."""
    found = []
    for file in _files(folder):
        with contextlib.suppress(OSError):
            status = file.lstat()
            found.append((max(status.st_mtime, status.st_ctime), status.st_size, file))
    total = sum(size for _, size, _ in found)
    for changed, size, file in sorted(found):
        age = now - changed
        if age > FILE_SECONDS or (total > FILES_BYTES and age > MIN_AGE_SECONDS):
            with contextlib.suppress(OSError):
                file.unlink()
                total -= size
                file.parent.rmdir()  # only removes an empty folder; the error for others is ignored


def _files(folder: Path) -> Iterable[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()] if folder.is_dir() else []
