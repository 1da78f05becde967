"""How the page is laid out and wired: components, events and the named endpoint around app/page.py's callbacks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.markup import CHOOSE_SCRIPT, colophon, examples_html, head, masthead, theme
from app.page import (
    EXAMPLES,
    MAX_FILE_SIZE,
    MODEL,
    SESSION_SECONDS,
    Page,
    example_paths,
    preset_title,
)
from eovseg.assets import asset_path
from eovseg.vocabulary import preset_names

_HERE = Path(__file__).parent
_WORDS_HELP = "Put ; between classes and , between synonyms, then press Enter"
_DOWNLOADS = ("Overlay PNG", "Segment ids PNG", "Segments JSON", "Masks JSON (RLE)")  # in the order of `Result.save`


def launch_options() -> dict[str, Any]:
    """What `Blocks.launch` needs for this page; only the example photos are served besides what Gradio made itself."""
    return {
        "theme": theme(),
        "head": head(),
        "allowed_paths": [str(asset_path("photos"))],
        "max_file_size": MAX_FILE_SIZE,
        "footer_links": ["api"],
        "favicon_path": str(_HERE / "mark.svg"),
    }


@dataclass(frozen=True)
class Parts:
    """The components that events read or fill."""

    session: gr.State
    photo: gr.Image
    words: gr.Textbox
    preset: gr.Dropdown
    go: gr.Button
    notes: gr.HTML
    examples: gr.HTML
    downloads: list[gr.DownloadButton]
    stage: gr.HTML


def build(page: Page, variant: str = "xs", device: str = "cpu") -> gr.Blocks:
    """The page as Gradio blocks, ready for `queue` and `launch`."""
    with gr.Blocks(
        title="EOV-Seg Explorer", fill_width=True, analytics_enabled=False, delete_cache=(3600, 7200)
    ) as demo:
        session = gr.State(None, time_to_live=SESSION_SECONDS, delete_callback=page.store.drop)
        gr.HTML(masthead(variant, device), elem_classes="masthead", apply_default_css=False)
        with gr.Row(elem_classes="bench"):
            with gr.Column(elem_classes="ask", min_width=0):
                words = gr.Textbox(
                    next(iter(EXAMPLES.values())), label="What to look for", info=_WORDS_HELP, lines=1, max_lines=6,
                    elem_id="words", max_length=400_000,
                )  # fmt: skip
                preset = gr.Dropdown(
                    [("My words only", ""), *((preset_title(name), name) for name in preset_names())],
                    value="", label="With a class list", info="A list comes first, then your words", elem_id="preset",
                )  # fmt: skip
                go = gr.Button("Segment", variant="primary", elem_id="go")
                notes = gr.HTML(elem_classes="notes", apply_default_css=False)
            with gr.Column(elem_classes="rail", min_width=0):
                photo = gr.Image(
                    str(example_paths()[0]), label="Photo", show_label=False, sources=["upload", "clipboard", "webcam"],
                    type="filepath", height=230, elem_id="photo", buttons=[],
                )  # fmt: skip
                examples = gr.HTML(
                    examples_html(), js_on_load=CHOOSE_SCRIPT, apply_default_css=False, elem_id="examples"
                )
                gr.HTML("<h2>Take it with you</h2>", apply_default_css=False, elem_classes="heading")
                with gr.Row(elem_classes="downloads"):
                    downloads = [gr.DownloadButton(title, size="sm", min_width=0) for title in _DOWNLOADS]
            with gr.Column(elem_classes="view", min_width=0):
                stage = gr.HTML(
                    None,
                    html_template=(_HERE / "stage.html").read_text(encoding="utf-8"),
                    js_on_load=(_HERE / "stage.js").read_text(encoding="utf-8"),
                    apply_default_css=False,
                    elem_id="stage",
                )
        gr.HTML(colophon(variant), elem_classes="colophon", apply_default_css=False)
        parts = Parts(session, photo, words, preset, go, notes, examples, downloads, stage)
        _wire(demo, page, parts)
        _endpoint(page)
    return demo


def _wire(demo: gr.Blocks, page: Page, parts: Parts) -> None:
    """Which event runs which callback. Files are written after the result is shown, so that nobody waits for them."""
    private: dict[str, Any] = {"api_visibility": "private"}
    shown = [parts.session, parts.stage, parts.notes]
    asked: list[gr.components.Component] = [parts.photo, parts.words, parts.preset]
    save: dict[str, Any] = {"inputs": parts.session, "outputs": parts.downloads, "show_progress": "hidden", **private}
    # preprocess=False: the photo arrives as the uploaded file, so that our loader, not Gradio's, judges a bad one.
    run: dict[str, Any] = {
        "inputs": [parts.session, *asked],
        "outputs": shown,
        "preprocess": False,
        "show_progress": "minimal",
        "show_progress_on": parts.stage,
        **MODEL,
        **private,
    }
    demo.load(page.open, None, shown, show_progress="hidden", **private).then(page.files, **save)
    for event in (parts.go.click, parts.words.submit, parts.preset.input):
        event(page.show, **run, trigger_mode="always_last").then(page.files, **save)
    parts.photo.input(page.show_photo, **run, trigger_mode="always_last").then(page.files, **save)
    chosen = parts.examples.choose(page.choose, None, asked, show_progress="hidden", **private)
    chosen.then(page.show, **run).then(page.files, **save)
    parts.stage.opacity(page.restyle, **save)


def _endpoint(page: Page) -> None:
    """`/segment`, the function that `gradio_client` and, with --mcp, language models call."""
    with gr.Row(visible=False):
        photo = gr.Image(type="filepath", label="photo")
        words = gr.Textbox(label="words")
        preset = gr.Dropdown(["", *preset_names()], value="", label="preset")
        outputs = [gr.JSON(label="segments"), gr.Files(label="files")]
        # preprocess=False as above: a file that is no photo gets our sentence.
        gr.Button().click(
            page.api_segment, [photo, words, preset], outputs, api_name="segment", preprocess=False, **MODEL
        )
