"""Sessions: what the server keeps for each browser tab, namely the image half, the word half and the last result.

Gradio's own per-tab state holds only a short key. The sessions themselves are kept here in limited number, so that a
busy server drops the least recently used session instead of running out of memory. If a dropped session is needed
again, everything is computed again.
"""

import dataclasses
import hashlib
import shutil
import tempfile
import threading
import time
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from app.limits import BUSY_SECONDS, MAX_SESSIONS
from app.worker_pool import RequestTimeout, checkpoint
from eovseg.background import merge_background, with_background
from eovseg.formats.archive import archive
from eovseg.images import load_image
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.settings import Settings
from eovseg.stems import clean_stem
from eovseg.vocabulary import Vocabulary
from eovseg.word import Word

LONGEST_SIDE = 1280  # larger photos take seconds to compose, and settings should take effect immediately
OPACITY = 0.5  # what `Result.save` draws with


@dataclass(frozen=True)
class Request:
    """A visitor's request: words to name, a background that only competes with them, and settings.

    `text` and `preset` are what was typed and chosen, for the call that reproduces the result.
    """

    words: Vocabulary
    background: Vocabulary | None = None
    settings: Settings = field(default_factory=Settings)
    text: str = ""
    preset: str = ""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The network's word list: the words, then the background's classes."""
        return self.words if self.background is None else with_background(self.words, self.background)


@dataclass
class Session:
    """The state of one browser tab: cached halves, what they were made from, and a folder for its downloads.

    `revision` counts results and `decoding` counts decoded word halves. `chosen` is the id of the segment that was
    clicked last, `open_tab` the name of the open tab of the page, and `seen` the revision that each of them showed
    last. `before` has the results before each correction, latest last. `words` has the words by example, with their
    references in lower case as keys.
    """

    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    photo: str | None = None
    digest: str | None = None
    shrunk_from: tuple[int, int] | None = None
    image_state: Any = None
    predictor: Any = None
    request: Request | None = None
    decoded: Any = None
    result: Result | None = None
    revision: int = 0
    decoding: int = 0
    chosen: int | None = None
    open_tab: str = ""
    seen: dict[str, int] = field(default_factory=dict)
    before: tuple[Result, ...] = ()
    words: dict[str, Word] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    opacity: float = OPACITY
    home: str | None = None
    files: list[Path] = field(default_factory=list)  # the downloads; they have their own folder
    run_number: int = 0  # number of the latest run of the tab Many; older runs stop
    saved: tuple[int, float] = (-1, 0.0)  # revision and opacity of the files
    saving: threading.RLock = field(default_factory=threading.RLock)  # held while the files must not be replaced
    running: threading.RLock = field(default_factory=threading.RLock)
    used: float = field(default_factory=time.time)  # seconds since 1970

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The network's word list: the words, then the background's classes."""
        return self.request.vocabulary if self.request else None

    @property
    def shown(self) -> Result:
        """The result that the page shows; there is none before the first run."""
        assert self.result is not None
        return self.result

    @property
    def asked(self) -> Request:
        """The request of the result that the page shows."""
        assert self.request is not None
        return self.request

    def close(self) -> None:
        if self.files:
            shutil.rmtree(self.files[0].parent, ignore_errors=True)

    def save(self) -> list[Path]:
        """Files with overlay, segment ids, segment list, masks and table, cached for the result and its opacity."""
        if self.result is None:
            return []
        with locked(self.saving):
            with exclusive(self):
                # All files are made from one result, even if another request replaces it meanwhile.
                result, wanted = self.result, (self.revision, self.opacity)
            if self.saved != wanted:
                self.close()
                files = result.save(Path(tempfile.mkdtemp(prefix="eovseg-", dir=self.home)))
                if self.opacity != OPACITY:
                    result.overlay(self.opacity).save(files[0])
                table = files[0].with_name(files[0].name.replace("-overlay.png", "-table.csv"))
                table.write_text(result.table_csv(), encoding="utf-8", newline="")
                self.files, self.saved = [*files, table], wanted
            return self.files

    def packed(self, kind: str, folder: Path) -> Path:
        """Writes the ZIP of the result for another tool (`kind` of `eovseg.formats.FORMATS`) to `folder`."""
        with exclusive(self):
            result = self.shown
        path = folder / f"{clean_stem(PurePath(result.name).stem)}-{kind}.zip"
        path.write_bytes(archive(result, kind))
        return path


class SessionStore:
    """At most `limit` sessions by key; opening another one drops the least recently used.

    Their folders are inside one folder of the store, which is deleted when the server stops.
    """

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        self._home = tempfile.mkdtemp(prefix="eovseg-")
        weakref.finalize(self, shutil.rmtree, self._home, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: str | None) -> Session | None:
        """The session of `key`; None if it was dropped."""
        with self._lock:
            session = self._sessions.get(key) if key else None
            if session is not None:
                self._sessions.move_to_end(session.key)
                session.used = time.time()
            return session

    def open(self, key: str | None, start: Session | None = None) -> Session:
        """The session of `key`, or a new one that begins with the halves and the result of `start`."""
        dropped: list[Session] = []
        with self._lock:
            session = self._sessions.get(key) if key else None
            if session is None:
                session = _copy(start) if start else Session()
                session.home = self._home
                self._sessions[session.key] = session
            self._sessions.move_to_end(session.key)
            session.used = time.time()
            while len(self._sessions) > self._limit:
                dropped.append(self._sessions.popitem(last=False)[1])
        for old in dropped:
            old.close()
        return session

    def expire(self, seconds: float, now: float) -> None:
        """Drops the sessions that were idle for more than `seconds` at `now` (seconds since 1970)."""
        with self._lock:
            old = [session.key for session in self._sessions.values() if now - session.used > seconds]
        for key in old:
            self.drop(key)

    def drop(self, key: str | None) -> None:
        with self._lock:
            session = self._sessions.pop(key, None) if key else None
        if session:
            session.close()


def exclusive(session: Session) -> AbstractContextManager[None]:
    """Exclusive access to `session`; raises `RequestTimeout` if another request does not release it in time."""
    return locked(session.running)


@contextmanager
def locked(lock: Any) -> Iterator[None]:
    """Holds `lock`; raises `RequestTimeout` if another request does not release it within `BUSY_SECONDS`."""
    if not lock.acquire(timeout=BUSY_SECONDS):
        raise RequestTimeout("Another request of this page is still running; try again in a moment.")
    try:
        yield
    finally:
        lock.release()


def run(session: Session, predictor: Predictor, photo: str, request: Request) -> Session:
    """Updates `session` to `photo` and `request`, running only the steps that changed, and returns it.

    `session.seconds` has the time of each step that ran. The session changes only if every step succeeds; after an
    error it still has the previous result. Raises the errors of `eovseg.errors`.
    """
    with exclusive(session):
        seconds: dict[str, float] = {}
        same_model = predictor is session.predictor
        image_state, shrunk_from = session.image_state, session.shrunk_from
        digest = photo_digest(photo)
        if digest != session.digest or image_state is None or not same_model:
            begin = time.perf_counter()
            image, shrunk_from = page_sized(load_image(photo))
            image_state = predictor.encode_image(image)
            seconds["photo"] = time.perf_counter() - begin
        decoded = session.decoded
        if "photo" in seconds or request.vocabulary != session.vocabulary or decoded is None:
            checkpoint()
            begin = time.perf_counter()
            # The tabs show the intermediates, which take a quarter more memory but no extra time.
            decoded = predictor.decode(image_state, request.vocabulary, intermediates=True)
            seconds["words"] = time.perf_counter() - begin
        checkpoint()
        begin = time.perf_counter()
        result = composed(predictor, decoded, request)
        seconds["result"] = time.perf_counter() - begin
        checkpoint()  # a cancelled request must not change the session
        session.photo, session.digest = photo, digest
        session.image_state, session.shrunk_from = image_state, shrunk_from
        session.predictor, session.decoded = predictor, decoded
        session.decoding += "words" in seconds
        _show(session, request, dataclasses.replace(result, name=Path(photo).name), seconds)
        return session


def adjust(session: Session, settings: Settings) -> Session:
    """Composes the result again with other settings, without running the network; raises `ConfigError`."""
    with exclusive(session):
        begin = time.perf_counter()
        request = dataclasses.replace(session.asked, settings=settings)
        result = composed(session.predictor, session.decoded, request)
        seconds = {"result": time.perf_counter() - begin}
        checkpoint()
        _show(session, request, dataclasses.replace(result, name=session.shown.name), seconds)
        return session


def network_segment(session: Session, place: int) -> Segment:
    """The network's segment from which the segment at `place` of the result was corrected, with the network's label.

    It has the same kernel. Without kernels, as in a semantic result, it has the same id, or is the segment itself.
    """
    result = session.shown
    segment = result.segments[place]
    if not result.corrections:
        return segment
    first = session.before[0] if session.before else result
    if first.corrections:  # undo does not reach back to the network's result
        first = composed(session.predictor, session.decoded, session.asked)
    if not result.queries:
        return next((one for one in first.segments if one.id == segment.id), segment)
    pairs = zip(first.segments, first.queries, strict=True)
    same = [one for one, query in pairs if query == result.queries[place]]
    return next((one for one in same if one.id == segment.id), same[0])


def composed(predictor: Predictor, decoded: Any, request: Request) -> Result:
    """The result for decoded words with the requested settings, and with the background merged into "other"."""
    result = predictor.compose(decoded, settings=request.settings)
    return result if request.background is None else merge_background(result, request.words)


def _show(session: Session, request: Request, result: Result, seconds: dict[str, float]) -> None:
    session.request, session.result, session.seconds = request, result, seconds
    session.before = ()
    session.revision += 1
    session.chosen = None


def photo_digest(photo: str) -> str | None:
    """A hash of the photo's content, whatever its path; None for a file that cannot be read."""
    try:
        with Path(photo).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError:
        return None


def _copy(start: Session) -> Session:
    names = (
        "photo", "digest", "shrunk_from", "image_state", "predictor", "request", "decoded", "result", "revision",
        "decoding", "seconds",
    )  # fmt: skip
    return Session(**{name: getattr(start, name) for name in names})


def page_sized(image: np.ndarray) -> tuple[np.ndarray, tuple[int, int] | None]:
    """`image` (H, W, 3) scaled to at most `LONGEST_SIDE` pixels a side; also the old (width, height) if larger."""
    height, width = image.shape[:2]
    if max(height, width) <= LONGEST_SIDE:
        return image, None
    scale = LONGEST_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)), (width, height)
