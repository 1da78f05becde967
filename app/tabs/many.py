"""The tab Many: several photos or a short clip with the words of the page, a gallery, a table, and a ZIP of it all."""

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

from app.desk import VisitorLeft
from app.limits import MAX_CLIP_SECONDS, MAX_FILES, MAX_GOES
from app.many import FAILED, Go, pack, segment_clip, segment_photos, uploaded
from app.page import Page
from app.session import Session
from app.tabs import Tab
from app.tabs.pieces import lead
from app.tabs.wiring import PRIVATE, html_part
from eovseg.errors import EovsegError
from eovseg.stems import clean_stem

_LOG = logging.getLogger(__name__)
_HERE = Path(__file__).parent
LEAD = (
    f"Look for the same words in up to {MAX_FILES} photos, or in the first {MAX_CLIP_SECONDS} seconds of a clip. "
    "Results appear one by one; at the end you can download all of them as one file."
)
_FILES_SCRIPT = """(pack, film) => {
  window.eovsegMany = { pack: pack && { url: pack.url, name: pack.orig_name }, film: film && { url: film.url } };
  document.dispatchEvent(new CustomEvent("eovseg-many"));
}"""
_MOST_WORDS = 12


def words_html(session: Session) -> str:
    """The words that a run would look for: those of the result that the page shows."""
    assert session.asked is not None
    labels = session.asked.words.labels
    more = f" and {len(labels) - _MOST_WORDS:,} more" if len(labels) > _MOST_WORDS else ""
    shown = html.escape(", ".join(labels[:_MOST_WORDS]) + more)
    return f'<p class="quiet">Words: <b>{shown}</b>. To change them, edit the words above and press Segment.</p>'


def many_part() -> gr.HTML:
    """The drop zone, the gallery and the table: app/tabs/many.html and many.js."""
    return gr.HTML(
        None,
        html_template=(_HERE / "many.html").read_text(encoding="utf-8")
        .replace("MAX_FILES", str(MAX_FILES)).replace("MAX_CLIP_SECONDS", str(MAX_CLIP_SECONDS)),
        js_on_load=(_HERE / "many.js").read_text(encoding="utf-8").replace("MAX_FILES", str(MAX_FILES)),
        apply_default_css=False,
        elem_id="many",
        elem_classes="look",
    )  # fmt: skip


def build(page: Page, session: gr.State) -> Tab:
    """The tab's components and events."""
    gr.HTML(lead(LEAD), apply_default_css=False, elem_classes="look")
    words = html_part("many-words")
    many = many_part()
    pack_file, film = gr.File(visible=False), gr.File(visible=False)

    def begin(key: str | None, event: gr.EventData) -> Iterator[Any]:
        yield from goes(page, key, getattr(event, "files", None))

    def halt(key: str | None) -> None:
        session = page.store.get(key)
        if session is not None:
            session.go += 1

    begun = many.begin(
        begin, session, [many, pack_file, film], show_progress="hidden", concurrency_id="many",
        concurrency_limit=MAX_GOES, **PRIVATE,
    )  # fmt: skip
    begun.then(None, [pack_file, film], None, js=_FILES_SCRIPT, **PRIVATE)
    many.halt(halt, session, None, show_progress="hidden", **PRIVATE)

    def refresh(session: Session) -> Sequence[Any]:
        return (words_html(session),)

    return Tab(refresh, [], [words])


def goes(page: Page, key: str | None, files: object) -> Iterator[tuple[Any, Any, Any]]:
    """Yields values of the tab's components during a run of the session `key`; a newer run of it ends this one."""
    session = page.store.get(key)
    if session is None or session.asked is None:
        gr.Info("Your session has expired, so the words are no longer on the server. Press Segment again.")
        yield gr.skip(), gr.skip(), gr.skip()
        return
    session.go += 1
    number, predictor, asked = session.go, session.predictor, session.asked
    try:
        given = uploaded(files)
    except EovsegError as error:
        gr.Warning(html.escape(str(error)))
        yield gr.skip(), gr.skip(), gr.skip()
        return
    go = Go(uuid.uuid4().hex, len(given), clip=given[0].is_video)
    yield go.value(), None, None

    def goes_on() -> bool:
        known = page.store.get(key)  # also marks the session as used
        return known is session and session.go == number

    with tempfile.TemporaryDirectory(prefix="eovseg-many-") as home:
        folder = Path(home) / "results"
        folder.mkdir()
        try:
            if go.clip:
                steps = segment_clip(page.desk.run, predictor, asked, given[0], go, folder, goes_on)
            else:
                steps = segment_photos(page.desk.run, predictor, asked, given, go, folder, goes_on)
            for _ in steps:
                yield go.value(), gr.skip(), gr.skip()
        except VisitorLeft:
            return
        except EovsegError as error:
            go.note = str(error).replace(given[0].path.name, given[0].name)
        except Exception:
            _LOG.exception("A run of the tab Many failed")
            go.note = FAILED
        go.state = "done" if go.rows or any(folder.iterdir()) else "nothing"
        if go.state == "nothing":
            yield go.value(), None, None
            return
        name = clean_stem(Path(given[0].name).stem) if go.clip else "photos"
        whole_pack = pack(folder, go, Path(home) / f"{name}-segments.zip")
        film = next(folder.glob("*.mp4"), None)
        packed = save_file_to_cache(whole_pack, get_upload_folder())
        yield go.value(), packed, save_file_to_cache(film, get_upload_folder()) if film else None


def endpoints(page: Page) -> None:
    """Registers none, because scripts can call /segment for each photo."""
