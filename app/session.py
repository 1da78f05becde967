"""What each visitor's tab keeps between clicks: the photo's half, the words' half and the last result.

Gradio's own per-tab state holds a short key only. The values behind the keys live here, a bounded number of them,
so that a busy server forgets its oldest visitor instead of running out of memory; for whoever was forgotten everything
is computed anew.
"""

import dataclasses
import hashlib
import shutil
import tempfile
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from eovseg.images import load_image
from eovseg.result import Result
from eovseg.vocabulary import Vocabulary

LONGEST_SIDE = 2048
MAX_SESSIONS = 24
LARGE_MODEL_SESSIONS = 6
OPACITY = 0.5  # what `Result.save` draws with


class StagedPredictor(Protocol):
    """The three steps of `eovseg.Predictor` that the page calls one by one to run no more than a change needs."""

    def encode_image(self, image: np.ndarray) -> Any: ...

    def decode(self, image_state: Any, vocabulary: Vocabulary) -> Any: ...

    def compose(self, decoded: Any) -> Result: ...


@dataclass
class Session:
    """One tab: kept halves, what they were made from, and a folder for its downloads."""

    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    photo: str | None = None
    digest: str | None = None
    shrunk_from: tuple[int, int] | None = None
    image_state: Any = None
    vocabulary: Vocabulary | None = None
    decoded: Any = None
    result: Result | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    opacity: float = OPACITY
    home: str | None = None
    folder: Path | None = None
    saving: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def save(self) -> list[Path]:
        """Write overlay, segment ids, segment list and masks into this tab's folder, in place of those before."""
        if self.result is None:
            return []
        with self.saving:
            result = self.result  # one result for all files, whatever else this tab asks for meanwhile
            self.close()
            self.folder = Path(tempfile.mkdtemp(prefix="eovseg-", dir=self.home))
            files = result.save(self.folder)
            if self.opacity != OPACITY:
                result.overlay(self.opacity).save(files[0])
            return files


class SessionStore:
    """The sessions by key, at most `limit`; opening one more drops the one that was used longest ago.

    Their folders lie in one folder of the store, which goes when the server stops.
    """

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        self._home = tempfile.TemporaryDirectory(prefix="eovseg-", ignore_cleanup_errors=True)

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: str | None) -> Session | None:
        """The session of `key`, None where it was dropped."""
        with self._lock:
            session = self._sessions.get(key) if key else None
            if session is not None:
                self._sessions.move_to_end(session.key)
            return session

    def open(self, key: str | None, start: Session | None = None) -> Session:
        """The session of `key`, or a new one, which begins with the halves and the result of `start`."""
        dropped: list[Session] = []
        with self._lock:
            session = self._sessions.get(key) if key else None
            if session is None:
                session = _copy(start) if start else Session()
                session.home = self._home.name
                self._sessions[session.key] = session
            self._sessions.move_to_end(session.key)
            while len(self._sessions) > self._limit:
                dropped.append(self._sessions.popitem(last=False)[1])
        for old in dropped:
            old.close()
        return session

    def drop(self, key: str | None) -> None:
        with self._lock:
            session = self._sessions.pop(key, None) if key else None
        if session:
            session.close()


def run(session: Session, predictor: StagedPredictor, photo: str, vocabulary: Vocabulary) -> Session:
    """Bring `session` to `photo` and `vocabulary`, running only what changed, and return it.

    `session.seconds` says which steps ran and how long. The session changes only when every step has succeeded: after
    an error it still holds the result before. Raises the errors of `eovseg.errors`.
    """
    seconds: dict[str, float] = {}
    image_state, shrunk_from = session.image_state, session.shrunk_from
    digest = photo_digest(photo)
    if digest != session.digest or image_state is None:
        begin = time.perf_counter()
        image, shrunk_from = _page_sized(load_image(photo))
        image_state = predictor.encode_image(image)
        seconds["photo"] = time.perf_counter() - begin
    decoded = session.decoded
    if "photo" in seconds or vocabulary != session.vocabulary or decoded is None:
        begin = time.perf_counter()
        decoded = predictor.decode(image_state, vocabulary)
        seconds["words"] = time.perf_counter() - begin
    begin = time.perf_counter()
    result = dataclasses.replace(predictor.compose(decoded), name=Path(photo).name)
    seconds["result"] = time.perf_counter() - begin
    session.photo, session.digest = photo, digest
    session.image_state, session.shrunk_from = image_state, shrunk_from
    session.vocabulary, session.decoded, session.result = vocabulary, decoded, result
    session.seconds = seconds
    return session


def photo_digest(photo: str) -> str | None:
    """What tells a photo from others wherever its file lies; None for a file that cannot be read."""
    try:
        with Path(photo).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:
        return None


def _copy(start: Session) -> Session:
    return Session(
        photo=start.photo,
        digest=start.digest,
        shrunk_from=start.shrunk_from,
        image_state=start.image_state,
        vocabulary=start.vocabulary,
        decoded=start.decoded,
        result=start.result,
        seconds=start.seconds,
    )


def _page_sized(image: np.ndarray) -> tuple[np.ndarray, tuple[int, int] | None]:
    """`image` with at most `LONGEST_SIDE` pixels a side, and its (width, height) before if it had more."""
    height, width = image.shape[:2]
    if max(height, width) <= LONGEST_SIDE:
        return image, None
    scale = LONGEST_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)), (width, height)
