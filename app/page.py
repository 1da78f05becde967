"""The callbacks of the page. They are thin; the work is done in app/session.py."""

import contextlib
import functools
import html
import logging
import math
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from app.editor import non_ascii_words, table_value, with_reference, without_reference
from app.examples import EXAMPLES
from app.gradio_internals import superseded
from app.inputs import make_request, part_of, path_of, whole
from app.limits import CACHED_VALUES, MAX_SESSIONS, MAX_TEXT, REQUEST_SECONDS, START_SECONDS
from app.link import note
from app.models import Models
from app.payload import answer, stage_value
from app.recipe import Link, read_link, recipe_value
from app.session import Request, Session, SessionStore, adjust, locked, photo_digest, run
from app.settings import defaults, read_settings
from app.why import why_value
from app.worker_pool import VisitorLeft, WorkerPool
from eovseg.assets import asset_path
from eovseg.errors import ConfigError, EovsegError
from eovseg.formats import FORMATS
from eovseg.predictor import Predictor
from eovseg.presets import preset_names
from eovseg.settings import Settings

_LOG = logging.getLogger(__name__)
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
# Composing does not run the network, so it never waits for another visitor's photo.
COMPOSE: dict[str, Any] = {"concurrency_id": "compose", "concurrency_limit": 4}
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
DOWNLOADS = {
    "overlay": "Overlay PNG",
    "ids": "Panoptic PNG",
    "panoptic": "Panoptic JSON",
    "masks": "Masks JSON (RLE)",
    "table": "Table CSV",
}  # in the order of the files of `Session.save`

Shown = tuple[Any, ...]


def notes_html(request: Request, shrunk_from: tuple[int, int] | None, reads: str = "") -> str:
    """Notes on the words, and on a photo that was scaled down, as escaped HTML.

    `reads` is the name of a model that reads English; with it, words in other scripts get a note.
    """
    notes = list(request.words.notes)
    foreign = non_ascii_words(request.words.words) if reads else []
    if foreign:
        listed = ", ".join(f'"{word}"' for word in foreign[:3]) + (", …" if len(foreign) > 3 else "")
        notes.insert(0, f"{reads} reads English words; {listed} may be matched by chance. Try the English word.")
    if shrunk_from:
        notes.insert(0, f"The photo was scaled down from {shrunk_from[0]:,} x {shrunk_from[1]:,} pixels for this page.")
    shown = notes[:4] + ([f"And {len(notes) - 4:,} more notes."] if len(notes) > 4 else [])
    return "".join(f"<p>{html.escape(note)}</p>" for note in shown)


class Page:
    """The callbacks of one server, with the models that all visitors share and the session of each visitor."""

    def __init__(
        self,
        predictor: Predictor,
        sessions: int = MAX_SESSIONS,
        models: Models | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        self.models = models or Models(predictor)
        self.pool = WorkerPool("model", 1, seconds)
        self.side_pool = WorkerPool("compose", 4, seconds)  # for work that does not run the network
        self.store = SessionStore(sessions)
        self.features: dict[str, Path] = {}  # weight files of other models for the tab Clustering
        self._kept: OrderedDict[tuple[str, int, str], Any] = OrderedDict()
        self._lock = threading.Lock()
        photo, words = next(iter(EXAMPLES.items()))
        # The first result is computed once, when the server starts; every session begins with a copy of it.
        request = make_request(words, None, False, None)
        self.start = self.pool.run(
            lambda: run(Session(), predictor, str(asset_path(f"photos/{photo}")), request), START_SECONDS
        )

    # Used by the tabs; see app/tabs/__init__.py.

    def callback(self, work: Callable[..., Any], outputs: int, pool: WorkerPool | None = None) -> Callable[..., Any]:
        """Wraps `work(session, *values) -> tuple` for Gradio: takes a session key and shows errors as a sentence.

        Parameters of `work` that Gradio fills itself (`event: gr.SelectData`) are kept. If the session has expired or
        `work` fails, the `outputs` do not change. `pool` runs the work; the default is the model's pool.
        """

        @functools.wraps(work)
        def called(key: str | None, *values: Any) -> Any:
            nothing = [gr.skip()] * outputs if outputs != 1 else gr.skip()
            session = self.store.get(key)
            if session is None or session.result is None:
                if key is None:  # the page is still loading
                    return nothing
                gr.Info("Your session has expired, so the photo is no longer on the server. Press Segment again.")
                return nothing
            made = self._guarded(work, session, *values, pool=pool)
            if made is None:
                return nothing
            return made[0] if outputs == 1 else made

        return called

    def cached(self, session: Session, name: str, make: Callable[[], Any]) -> Any:
        """`make()`, cached for this photo and these words; the cache holds the last few values of all visitors."""
        key = (session.key, session.decoding, name)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > CACHED_VALUES:
                self._kept.popitem(last=False)
        return made

    # Used by the frame of the page and the tab Segment.

    def open(self) -> Shown:
        """Opens a session for a new browser tab, with the first result of the server."""
        session = self.store.open(None, self.start)
        return (session.key, *self._shown(session, whole=True), self.panel(session.key))

    def restore(self, key: str | None, request: gr.Request) -> Shown:
        """Restores result, photo, words, preset and settings from the page's URL, if it has any."""
        linked = read_link(dict(request.query_params))
        session = self.store.get(key)
        if linked is None or session is None:
            return (key, *[gr.skip()] * 8)
        path = str(asset_path(f"photos/{linked.photo}"))
        competes = gr.update(value=linked.competes, visible=True if linked.preset else "hidden")
        listed = (linked.preset, competes) if linked.preset in ("", *preset_names()) else (gr.skip(), gr.skip())
        panel = gr.skip()

        def work(session: Session) -> Session:
            nonlocal panel
            predictor = self.models.get(linked.model)
            panel = self._panel(predictor, read_settings(linked.settings))
            wanted = make_request(linked.words, linked.preset, linked.competes, linked.settings, session.words)
            run(session, predictor, path, wanted)
            session.chosen = next((s.id for s in session.shown.segments if s.id == linked.segment), None)
            return session

        if self._guarded(work, session) is None:
            # For example, a word by example is not loaded: the visitor can load it here and press Segment.
            return (key, *[gr.skip()] * 3, path, linked.words, *listed, panel)
        return (key, *self._shown(session, True, linked), path, linked.words, *listed, panel)

    def show(
        self,
        key: str | None,
        photo: dict[str, Any] | None,
        words: str,
        preset: str | None = None,
        competes: bool = False,
        panel: dict[str, Any] | None = None,
    ) -> Shown:
        """Runs what changed and shows the result; on bad input, shows one sentence and keeps the previous result."""
        known = self.store.get(key) is not None
        if known and superseded():  # a newer request is queued
            return (key, *[gr.skip()] * 3)
        path = path_of(photo)
        if path is None:
            gr.Warning("Choose a photo first: upload one, or click an example.")
            return (key, *[gr.skip()] * 3)
        session = self.store.open(key, self.start)
        before = session.digest if known else None

        def work(session: Session) -> Session:
            request = make_request(words or "", preset, bool(competes), part_of(panel, "settings"), session.words)
            return run(session, self.models.get(part_of(panel, "model")), path, request)

        if self._guarded(work, session) is None:
            return (session.key, *[gr.skip()] * 3)
        return (session.key, *self._shown(session, whole=session.digest != before))

    def show_photo(self, key: str | None, photo: dict[str, Any] | None, *inputs: Any) -> Shown:
        """Like `show`, for a change of the photo box; a no-op if the photo is still the same."""
        path = path_of(photo)
        session = self.store.get(key)
        if path is None or (session is not None and photo_digest(path) == session.digest):
            return (key, *[gr.skip()] * 3)
        return self.show(key, photo, *inputs)

    def adjust(self, key: str | None, *inputs: Any) -> Shown:
        """Composes the result again with new settings, without running the network; `inputs` as for `show`."""
        session = self.store.get(key)
        if session is None:
            return self.show(key, *inputs)
        settings = part_of(inputs[-1], "settings")
        if self._guarded(lambda s: adjust(s, read_settings(settings)), session, pool=self.side_pool) is None:
            return (key, *[gr.skip()] * 3)
        return (key, *self._shown(session))

    def choose(self, event: gr.EventData, key: str | None = None, typed: str = "") -> tuple[str, Any, Any]:
        """Puts an example's photo and words into the inputs, and keeps the visitor's words by example.

        Words that the visitor `typed` stay in the box, together with the class list.
        """
        name = list(EXAMPLES)[whole(event, "index") % len(EXAMPLES)]
        session = self.store.get(key)
        photo, words = str(asset_path(f"photos/{name}")), EXAMPLES[name]
        for word in session.words.values() if session else ():
            words, typed = with_reference(words, word.reference), without_reference(typed, word.reference)
        if typed.strip(" ;,\n") and typed not in EXAMPLES.values():
            gr.Info("Your words were kept. For the words of the example, empty the box and click the example again.")
            return photo, gr.skip(), gr.skip()
        return photo, words, ""

    def explain(self, key: str | None, event: gr.EventData) -> Any:
        """Why the clicked segment has its class; an empty answer if the click removed the pin."""
        number = whole(event, "segment")
        return self.callback(lambda session: (why_value(session, number),), 1, self.side_pool)(key)

    def table(self, words: str, key: str | None = None) -> Any:
        """The words as rows of the table."""
        session = self.store.get(key)
        try:
            return table_value(words, session.words if session else None)
        except EovsegError as error:
            gr.Warning(html.escape(str(error)))
            return gr.skip()

    def edited(self, event: gr.EventData, key: str | None = None) -> Shown:
        """The words of the edited table as text, and its rows with their new colours."""
        text = str(getattr(event, "text", ""))[:MAX_TEXT]
        return text, self.table(text, key)

    def offer_competing(self, preset: str | None) -> Any:
        """Shows the background option if a preset is chosen. It is hidden, not removed, as adding it fires an event."""
        return gr.update(visible=True if preset else "hidden")

    def panel(self, key: str | None) -> dict[str, Any]:
        """The data for app/panel.js: all models, the session's model and settings, and the defaults of that model."""
        session = self.store.get(key) or self.start
        return self._panel(session.predictor, session.asked.settings)

    def _panel(self, predictor: Predictor, settings: Settings) -> dict[str, Any]:
        return {
            "model": self.models.key_of(predictor),
            "models": [asdict(choice) for choice in self.models.choices()],
            "settings": settings.given(),
            "defaults": defaults(predictor.config),
        }

    def shown_again(self, key: str | None) -> Any:
        """The stage value with the photo, for a browser that no longer has it."""
        return self.callback(lambda session: (stage_value(session),), 1, self.side_pool)(key)

    def restyle(self, key: str | None, event: gr.EventData) -> Any:
        """Stores the opacity that the visitor chose, for the overlay download and the recipe."""
        session = self.store.get(key)
        if session is None:
            return gr.skip()
        with contextlib.suppress(TypeError, ValueError, AttributeError):  # a forged event changes nothing
            value = float(event.value)
            session.opacity = min(max(value, 0.0), 1.0) if math.isfinite(value) else session.opacity
        return self.recipe(session)

    def download(self, key: str | None, kind: str) -> Any:
        """A file of the session's result."""
        place = list(DOWNLOADS).index(kind)

        def work(session: Session) -> tuple[str]:
            with locked(session.saving):  # so that the file is not replaced before it is copied
                return (save_file_to_cache(session.save()[place], get_upload_folder()),)

        return self.callback(work, 1, self.side_pool)(key)

    def download_format(self, key: str | None, kind: object) -> Any:
        """The session's result as a ZIP for another tool."""

        def work(session: Session) -> tuple[str]:
            if not isinstance(kind, str) or kind not in FORMATS:
                raise ConfigError(f"Choose the tool first: {', '.join(form.title for form in FORMATS.values())}.")
            with tempfile.TemporaryDirectory(prefix="eovseg-") as folder:
                return (save_file_to_cache(session.packed(kind, Path(folder)), get_upload_folder()),)

        return self.callback(work, 1, self.side_pool)(key)

    def api_segment(
        self,
        photo: dict[str, Any] | None,
        words: str,
        preset: str | None = None,
        preset_competes: bool = False,
        task: str | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        ensemble: str | None = None,
        score_threshold: float | None = None,
        overlap_threshold: float | None = None,
        void_threshold: float | None = None,
        model: str | None = None,
        edges: str | None = None,
    ) -> tuple[dict[str, Any], list[str]]:
        """Split a photo into segments named with your words.

        `photo`: an uploaded file; over MCP a data URI, because the server does not fetch URLs.
        `words`: `;` or a new line between classes, `,` between synonyms, optionally `: thing` or `: stuff`.
        `preset`: a class list that is put before the words; with `preset_competes` it is the background instead: its
        classes compete with the words, and what they win is one segment "other". `task`: panoptic, semantic or
        instance. `ensemble`: geometric or arithmetic. `edges`: true or false, whether masks follow the photo's edges
        (panoptic only). The other settings are numbers from 0 to 1. Settings that are left out have the model's own
        values. `model`: another variant that the server has.
        Returns the segments and the files of the result.
        """
        path = path_of(photo)
        if path is None:
            raise gr.Error("Give a photo to segment.", print_exception=False)
        settings = {
            "task": task, "alpha": alpha, "beta": beta, "ensemble": ensemble, "score_threshold": score_threshold,
            "overlap_threshold": overlap_threshold, "void_threshold": void_threshold, "edges": edges,
        }  # fmt: skip
        session = Session()
        try:
            request = make_request(words or "", preset, bool(preset_competes), settings)
            self.pool.run(lambda: run(session, self.models.get(model), path, request))
            # Gradio serves copies, which it deletes after a few hours; all other files are deleted now.
            files = [save_file_to_cache(file, get_upload_folder()) for file in session.save()]
        except EovsegError as error:
            raise gr.Error(str(error), print_exception=False) from error
        finally:
            session.close()
        return answer(session), files

    def _guarded(self, work: Callable[..., Any], session: Session, *values: Any, pool: WorkerPool | None = None) -> Any:
        """The result of `work`; None if it fails, after showing a sentence on the page."""
        try:
            return (pool or self.pool).run(lambda: work(session, *values))
        except VisitorLeft:
            pass
        except EovsegError as error:
            gr.Warning(html.escape(str(error)))
        except gr.Error:
            raise
        except Exception:
            _LOG.exception("A callback of the page failed")
            gr.Warning("The model failed on this photo; see the server's log.")
        return None

    def _shown(self, session: Session, whole: bool = False, linked: Link | None = None) -> Shown:
        """Stage, notes and recipe of a result; with `whole`, the stage includes the photo.

        `linked` is the URL that requested the result; its segment is pinned.
        """
        reads = self.models.title(self.models.key_of(session.predictor))
        notes = notes_html(session.asked, session.shrunk_from, reads)
        stage, recipe = stage_value(session, whole), self.recipe(session)
        pinned = {} if linked is None else {"pin": linked.segment}
        return (stage | pinned, notes + note(recipe["link"], linked), recipe)

    def recipe(self, session: Session) -> dict[str, Any]:
        """The calls that reproduce the session's result."""
        return recipe_value(session, *self.models.parts(self.models.key_of(session.predictor)))
