"""What keeps a server's memory and disk bounded over a long day: what nobody asked for in a while goes."""

import contextlib
import ctypes
import gc
import sys
import threading
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from app.limits import FILE_SECONDS, FILES_BYTES, SESSION_SECONDS
from app.session import SessionStore

ROUND_SECONDS = 20.0
YOUNG_SECONDS = 120.0  # a file this young may belong to a request that waits, whatever the disk says


class Janitor:
    """A thread that tidies up every twenty seconds, while the `with` block lasts."""

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
            self.tidy()

    def tidy(self, now: float | None = None) -> None:
        """One round; `now` in seconds since 1970."""
        now = time.time() if now is None else now
        self._store.expire(SESSION_SECONDS, now)
        delete_files(Path(get_upload_folder()), now)
        self._forget_callers(now)
        self._forget_messages(now)
        gc.collect()
        trim()

    def _forget_callers(self, now: float) -> None:
        """What Gradio keeps of browsers and scripts: the last value of every part of the page."""
        holder = self._blocks.state_holder
        for key, used in list(holder.time_last_used.items()):
            if (datetime.fromtimestamp(now) - used).total_seconds() > SESSION_SECONDS:
                holder.session_data.pop(key, None)
                holder.time_last_used.pop(key, None)

    def _forget_messages(self, now: float) -> None:
        """Lists of results: those that were read, and those that nobody came to read."""
        line = self._blocks._queue
        for key, waiting in list(line.pending_event_ids_session.items()):
            at_work = any(number in line.event_ids_to_events for number in waiting)
            since = self._unread.setdefault(key, now)
            if at_work:
                self._unread[key] = now
            elif not waiting or now - since > FILE_SECONDS / 12:
                line.pending_event_ids_session.pop(key, None)
                line.pending_messages_per_session.pop(key, None)
                self._unread.pop(key, None)
        for key in set(self._unread) - set(line.pending_event_ids_session):
            del self._unread[key]


def delete_files(folder: Path, now: float) -> None:
    """Delete files of `folder` older than `FILE_SECONDS`, and the oldest others while all exceed `FILES_BYTES`."""
    found = []
    for file in _files(folder):
        with contextlib.suppress(OSError):
            status = file.lstat()
            found.append((max(status.st_mtime, status.st_ctime), status.st_size, file))
    total = sum(size for _, size, _ in found)
    for changed, size, file in sorted(found):
        age = now - changed
        if age > FILE_SECONDS or (total > FILES_BYTES and age > YOUNG_SECONDS):
            with contextlib.suppress(OSError):
                file.unlink()
                total -= size
                file.parent.rmdir()  # only where it was the last file


def _files(folder: Path) -> Iterable[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()] if folder.is_dir() else []


def trim() -> None:
    """Give memory that is free back to the system, where the C library can."""
    library: Any = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is not None and hasattr(library, "malloc_trim"):  # glibc's
        library.malloc_trim(0)
