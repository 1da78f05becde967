"""Layout and wiring of the page: components, events and named endpoints around the callbacks of app/page.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from app import advice, corrections, remembered, subject
from app.calls import PageBlocks
from app.examples import EXAMPLES, example_paths, preset_title
from app.gate import Gate
from app.limits import FILE_SECONDS, MAX_CALLERS, MAX_FILE_SIZE, MAX_TEXT, SESSION_SECONDS
from app.markup import CHOOSE_SCRIPT, colophon, examples_html, head, masthead, scripted, theme
from app.page import COMPOSE, DOWNLOADS, MODEL, PRIVATE, Page
from app.session import Session
from app.settings import ENSEMBLES, SHARES, TASKS
from app.tabs import TITLES, Tab, clustering, decoder, many, speed, tdee, vas
from app.uploads import uploaded_photo
from app.worker_pool import checkpoint
from eovseg.assets import asset_path
from eovseg.formats import FORMATS
from eovseg.presets import preset_names

_HERE = Path(__file__).parent
_WORDS_HELP = "Separate classes with ; and synonyms with , then press Enter; known synonyms are added to single words"
_TABS = {"many": many, "vas": vas, "tdee": tdee, "clustering": clustering, "decoder": decoder, "speed": speed}
_SAVE_SCRIPT = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name || "";
  link.click();
}"""


def launch_options() -> dict[str, Any]:
    """Options of `Blocks.launch` for this page; besides Gradio's own files, only the example photos are served."""
    return {
        "theme": theme(),
        "head": head(),
        "allowed_paths": [str(asset_path("photos"))],
        "max_file_size": MAX_FILE_SIZE,
        "state_session_capacity": MAX_CALLERS,
        "run_history": False,
        "app_kwargs": {"middleware": [Middleware(Gate, folders=[asset_path("photos")])]},
        "footer_links": ["api"],
        "favicon_path": str(_HERE / "mark.svg"),
        "_frontend": False,  # omits a check that gives up when a busy machine does not answer within 3 seconds
    }


@dataclass(frozen=True)
class Parts:
    """The components that events read or update."""

    session: gr.State
    photo: gr.Image
    words: gr.Textbox
    editor: gr.HTML
    preset: gr.Dropdown
    competes: gr.Checkbox
    panel: gr.HTML
    go: gr.Button
    notes: gr.HTML
    examples: gr.HTML
    stage: gr.HTML
    correct: gr.HTML
    remembered: gr.HTML
    why: gr.HTML
    advice: gr.HTML
    recipe: gr.HTML
    downloads: dict[str, gr.Button]
    tool: gr.Dropdown
    pack: gr.Button
    file: gr.File
    subject: gr.HTML

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.photo, self.words, self.preset, self.competes, self.panel]

    @property
    def shown(self) -> list[gr.components.Component]:
        return [self.session, self.stage, self.notes, self.recipe]


def build(page: Page) -> gr.Blocks:
    """Builds the page; call `queue` and `launch` on the result."""
    with PageBlocks(
        title="EOV-Seg Explorer", fill_width=True, analytics_enabled=False, delete_cache=(3600, FILE_SECONDS)
    ) as demo:
        session = gr.State(None, time_to_live=SESSION_SECONDS, delete_callback=page.store.drop)
        gr.HTML(masthead(page.models), elem_classes="masthead", apply_default_css=False)
        with gr.Row(elem_classes="bench"):
            with gr.Column(elem_classes="ask", min_width=0):
                components = _question() | {"advice": scripted("advice", {})}
            with gr.Column(elem_classes="rail", min_width=0):
                components |= _rail(page)
            with gr.Column(elem_classes="view", min_width=0), gr.Tabs(elem_id="tabs"):
                with gr.Tab("Segment", id="segment", render_children=True) as first:
                    components |= _segment()
                tabs = _tabs(page, session)
        scripted("link")
        scripted("tour")
        gr.HTML(colophon(page.models), elem_classes="colophon", apply_default_css=False)
        parts = Parts(session=session, **components)
        _wire(demo, page, parts, tabs)
        corrections.wire(page, parts)
        remembered.wire(page, parts)
        _wire_tabs(page, parts, first, tabs)
        _endpoints(page)
    return demo


def _question() -> dict[str, Any]:
    """The words, the preset beside them, and notes about both."""
    words = gr.Textbox(
        next(iter(EXAMPLES.values())), label="What to look for", info=_WORDS_HELP, lines=1, max_lines=6,
        elem_id="words", max_length=MAX_TEXT,
    )  # fmt: skip
    with gr.Column(elem_classes="list", min_width=0):
        preset = gr.Dropdown(
            [("My words only", ""), *((preset_title(name), name) for name in preset_names())],
            value="", label="Add a class list", info="Its classes come before your words", elem_id="preset",
        )  # fmt: skip
        competes = gr.Checkbox(
            False, label="Show its classes as “other” only", visible="hidden", elem_id="competes", container=False,
        )  # fmt: skip
    go = gr.Button("Segment", variant="primary", elem_id="go")
    editor = scripted("editor")
    own = scripted("remembered", {"words": []})
    notes = gr.HTML(elem_classes="notes", apply_default_css=False)
    return {
        "words": words, "preset": preset, "competes": competes, "go": go, "editor": editor, "notes": notes,
        "remembered": own,
    }  # fmt: skip


def _rail(page: Page) -> dict[str, Any]:
    """The photo, the examples and the settings, which all tabs share."""
    photo = uploaded_photo(
        value=str(example_paths()[0]), label="Photo", show_label=False, sources=["upload", "clipboard", "webcam"],
        alt_text="The photo to segment",
        height=190, elem_id="photo", buttons=[],
    )  # fmt: skip
    examples = gr.HTML(examples_html(), js_on_load=CHOOSE_SCRIPT, apply_default_css=False, elem_id="examples")
    panel = scripted("panel", page.panel(None))
    return {"photo": photo, "examples": examples, "panel": panel}


def _segment() -> dict[str, Any]:
    """The tab Segment."""
    stage = scripted("stage")
    correct = scripted("correct")
    why = scripted("why")
    with gr.Row(elem_classes="downloads"):
        gr.HTML("<h2>Download</h2>", apply_default_css=False, elem_classes="heading")
        downloads = {kind: gr.Button(title, size="sm", min_width=0) for kind, title in DOWNLOADS.items()}
        with gr.Row(elem_classes="for-tool"):
            tool = gr.Dropdown(
                [(form.title, kind) for kind, form in FORMATS.items()], value=next(iter(FORMATS)), label="For a tool",
                show_label=False, container=False, min_width=0, elem_id="tool",
            )  # fmt: skip
            pack = gr.Button("ZIP for this tool", size="sm", min_width=0, elem_id="pack")
    pictures = scripted("subject")
    recipe = scripted("recipe")
    file = gr.File(visible=False)
    return {
        "stage": stage, "correct": correct, "why": why, "downloads": downloads, "tool": tool, "pack": pack,
        "recipe": recipe, "file": file, "subject": pictures,
    }  # fmt: skip


def _tabs(page: Page, session: gr.State) -> dict[str, tuple[gr.Tab, Tab]]:
    tabs = {}
    for name, module in _TABS.items():
        with gr.Tab(TITLES[name], id=name) as item:
            tabs[name] = (item, module.build(page, session))
    return tabs


def _wire(demo: gr.Blocks, page: Page, parts: Parts, tabs: dict[str, tuple[gr.Tab, Tab]]) -> None:
    """Connects events to callbacks."""
    # preprocess=False: the callback gets the uploaded file, so that our loader, not Gradio's, reports a bad photo.
    run: dict[str, Any] = {
        "inputs": [parts.session, *parts.inputs],
        "outputs": parts.shown,
        "preprocess": False,
        "show_progress": "minimal",
        "show_progress_on": parts.stage,
        **PRIVATE,
    }
    heavy, light = {**run, **MODEL}, {**run, **COMPOSE, "show_progress": "hidden"}
    after = {**PRIVATE, **MODEL, "show_progress": "hidden", **_refresh_all(page, parts, tabs)}
    opened = demo.load(page.open, None, [*parts.shown, parts.panel], show_progress="hidden", **COMPOSE, **PRIVATE)
    opened.then(page.restore, parts.session, [*parts.shown, *parts.inputs], show_progress="hidden", **MODEL, **PRIVATE)
    for event in (parts.go.click, parts.words.submit, parts.preset.select, parts.competes.input):
        event(page.show, **heavy, trigger_mode="always_last").then(**after)
    parts.preset.change(page.offer_competing, parts.preset, parts.competes, show_progress="hidden", **PRIVATE)
    parts.photo.input(page.show_photo, **heavy, trigger_mode="always_last").then(**after)
    chosen = parts.examples.choose(
        page.choose, [parts.session, parts.words], parts.inputs[:3], show_progress="hidden", **PRIVATE
    )
    chosen.then(page.show, **heavy).then(**after)
    edited = parts.editor.edit(
        page.edited, parts.session, [parts.words, parts.editor], show_progress="hidden", **PRIVATE
    )
    edited.then(page.show, **heavy).then(**after)
    parts.editor.read(
        page.table,
        [parts.words, parts.session],
        parts.editor,
        show_progress="hidden",
        trigger_mode="always_last",
        **PRIVATE,
    )
    parts.panel.adjust(page.adjust, **light, trigger_mode="always_last").then(**after)
    switched = parts.panel.model(page.show, **heavy, trigger_mode="always_last")
    switched.then(page.panel, parts.session, parts.panel, show_progress="hidden", **PRIVATE).then(**after)
    advice.wire(page, parts.advice, parts, heavy, after)
    parts.stage.opacity(page.restyle, parts.session, parts.recipe, show_progress="hidden", **PRIVATE)
    parts.stage.request_photo(page.shown_again, parts.session, parts.stage, show_progress="hidden", **PRIVATE)
    parts.stage.explain(
        page.explain, parts.session, parts.why, show_progress="hidden", trigger_mode="always_last", **COMPOSE,
        **PRIVATE,
    )  # fmt: skip
    subject.wire(page, parts.session, parts.subject, parts.file, _SAVE_SCRIPT)
    asks: list[tuple[gr.Button, Any, list[Any]]] = [
        *((button, partial(page.download, kind=kind), [parts.session]) for kind, button in parts.downloads.items()),
        (parts.pack, page.download_format, [parts.session, parts.tool]),
    ]
    for button, make, inputs in asks:
        made = button.click(make, inputs, parts.file, **PRIVATE)
        made.then(None, parts.file, None, js=_SAVE_SCRIPT, **PRIVATE)


def _wire_tabs(page: Page, parts: Parts, first: gr.Tab, tabs: dict[str, tuple[gr.Tab, Tab]]) -> None:
    """A tab is computed when it is opened, unless it already shows the current result."""

    def leave(session: Session) -> tuple[()]:
        session.open_tab = ""
        return ()

    first.select(page.callback(leave, 0, page.side_pool), parts.session, None, **PRIVATE)
    for name, (item, tab) in tabs.items():

        def enter(session: Session, *values: Any, name: str = name, tab: Tab = tab) -> Sequence[Any]:
            session.open_tab = name
            return _refreshed(session, name, tab, values)

        work = page.callback(enter, len(tab.outputs))
        item.select(work, [parts.session, *tab.inputs], list(tab.outputs), **MODEL, **PRIVATE)


def _refresh_all(page: Page, parts: Parts, tabs: dict[str, tuple[gr.Tab, Tab]]) -> dict[str, Any]:
    """One event for all tabs after a new result: it updates the open tab and skips the others."""
    outputs = [output for _, tab in tabs.values() for output in tab.outputs]

    def refresh(session: Session, *values: Any) -> list[Any]:
        answer: list[Any] = []
        given = iter(values)
        for name, (_, tab) in tabs.items():
            own = [next(given) for _ in tab.inputs]
            if name == session.open_tab:
                answer += _refreshed(session, name, tab, own)
            else:
                answer += [gr.skip()] * len(tab.outputs)
        return answer

    inputs = [given for _, tab in tabs.values() for given in tab.inputs]
    return {"fn": page.callback(refresh, len(outputs)), "inputs": [parts.session, *inputs], "outputs": outputs}


def _refreshed(session: Session, name: str, tab: Tab, values: Sequence[Any]) -> list[Any]:
    if session.seen.get(name) == session.revision:
        return [gr.skip()] * len(tab.outputs)
    revision = session.revision
    answer = list(tab.refresh(session, *values))
    checkpoint()  # a cancelled request does not count as seen
    session.seen[name] = revision
    return answer


def _endpoints(page: Page) -> None:
    """The endpoint `/segment`, for `gradio_client` and, with --mcp, language models, and the endpoints of the tabs."""
    with gr.Row(visible=False):
        inputs = [
            uploaded_photo(label="photo"),
            gr.Textbox(label="words"),
            gr.Dropdown(["", *preset_names()], value="", label="preset"),
            gr.Checkbox(False, label="preset_competes"),
            gr.Dropdown(list(TASKS), value=TASKS[0], label="task"),
            *(gr.Number(None, minimum=0, maximum=1, label=name) for name in SHARES[:2]),
            gr.Dropdown(["", *ENSEMBLES], value="", label="ensemble"),
            *(gr.Number(None, minimum=0, maximum=1, label=name) for name in SHARES[2:]),
            gr.Textbox("", label="model"),
            gr.Dropdown(["", "true", "false"], value="", label="edges"),  # a checkbox has no "default"
        ]
        outputs = [gr.JSON(label="segments"), gr.Files(label="files")]
        # preprocess=False for the same reason as in `_wire`.
        gr.Button().click(page.api_segment, inputs, outputs, api_name="segment", preprocess=False, **MODEL)
    for module in _TABS.values():
        module.endpoints(page)
