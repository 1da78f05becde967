"""The tab Many: several photos or a short clip with the words in the box; a gallery, a table and a ZIP file."""

import html
import logging
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from app.inputs import box_request
from app.limits import MAX_CLIP_SECONDS, MAX_FILES, MAX_RUNS
from app.many import FAILED, Progress, pack, segment_clip, segment_photos, uploaded
from app.markup import scripted
from app.page import PRIVATE, Page
from app.session import Session
from app.tabs import Tab
from app.tabs.pieces import lead
from app.worker_pool import VisitorLeft
from eovseg.errors import EovsegError
from eovseg.stems import clean_stem

_LOG = logging.getLogger(__name__)
LEAD = (
    f"Look for the words in the box above in up to {MAX_FILES} photos, or in the first {MAX_CLIP_SECONDS} seconds of a "
    "clip. Results appear one by one; at the end you can download all of them as one file."
)
_FILES_SCRIPT = """(pack, film) => {
  window.eovsegMany = { pack: pack && { url: pack.url, name: pack.orig_name }, film: film && { url: film.url } };
  document.dispatchEvent(new CustomEvent("eovseg-many"));
}"""


def many_component() -> gr.HTML:
    """The drop zone, the gallery and the table: app/tabs/many.html and many.js."""
    limits = {"MAX_FILES": MAX_FILES, "MAX_CLIP_SECONDS": MAX_CLIP_SECONDS}
    return scripted("many", folder=Path(__file__).parent, limits=limits, elem_classes="tab-body")


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="tab-body")
    many = many_component()
    pack_file, film = gr.File(visible=False), gr.File(visible=False)

    def start(key: str | None, event: gr.EventData) -> Iterator[Any]:
        yield from segment_uploads(page, key, getattr(event, "files", None), getattr(event, "words", None))

    def stop(key: str | None) -> None:
        session = page.store.get(key)
        if session is not None:
            session.run_number += 1

    started = many.start_run(
        start, session, [many, pack_file, film], show_progress="hidden", concurrency_id="many",
        concurrency_limit=MAX_RUNS, **PRIVATE,
    )  # fmt: skip
    started.then(None, [pack_file, film], None, js=_FILES_SCRIPT, **PRIVATE)
    many.stop_run(stop, session, None, show_progress="hidden", **PRIVATE)

    def refresh(session: Session) -> Sequence[Any]:
        return ()

    return Tab(refresh, [], [])


def segment_uploads(page: Page, key: str | None, files: object, words: object = None) -> Iterator[tuple[Any, Any, Any]]:
    """Yields values of the tab's components during a run of the session `key`; a newer run of it ends this one.

    `words` is the text in the box of the page; without it, that of the session's result is used.
    """
    session = page.store.get(key)
    if session is None or session.request is None:
        gr.Info("Your session has expired, so the words are no longer on the server. Press Segment again.")
        yield gr.skip(), gr.skip(), gr.skip()
        return
    session.run_number += 1
    number, predictor = session.run_number, session.predictor
    try:
        request, uploads = box_request(session, words), uploaded(files)
    except EovsegError as error:
        gr.Warning(html.escape(str(error)))
        yield gr.skip(), gr.skip(), gr.skip()
        return
    progress = Progress(uuid.uuid4().hex, len(uploads), clip=uploads[0].is_video)
    yield progress.value(), None, None

    def is_current() -> bool:
        known = page.store.get(key)  # also marks the session as used
        return known is session and session.run_number == number

    with tempfile.TemporaryDirectory(prefix="eovseg-many-") as home:
        folder = Path(home) / "results"
        folder.mkdir()
        try:
            if progress.clip:
                steps = segment_clip(page.pool.run, predictor, request, uploads[0], progress, folder, is_current)
            else:
                steps = segment_photos(page.pool.run, predictor, request, uploads, progress, folder, is_current)
            for _ in steps:
                yield progress.value(), gr.skip(), gr.skip()
        except VisitorLeft:
            return
        except EovsegError as error:
            progress.note = str(error).replace(uploads[0].path.name, uploads[0].name)
        except Exception:
            _LOG.exception("A run of the tab Many failed")
            progress.note = FAILED
        progress.state = "done" if progress.rows or any(folder.iterdir()) else "nothing"
        if progress.state == "nothing":
            yield progress.value(), None, None
            return
        name = clean_stem(Path(uploads[0].name).stem) if progress.clip else "photos"
        whole_pack = pack(folder, progress, Path(home) / f"{name}-segments.zip")
        film = next(folder.glob("*.mp4"), None)
        packed = save_file_to_cache(whole_pack, get_upload_folder())
        yield progress.value(), packed, save_file_to_cache(film, get_upload_folder()) if film else None


def endpoints(page: Page) -> None:
    """Registers none, because scripts can call /segment for each photo."""
