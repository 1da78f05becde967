"""Connects tabs to Gradio: their events, and named endpoints that take a photo and words and return JSON and files."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from app.inputs import make_request, path_of
from app.page import MODEL, PRIVATE, Page
from app.session import Session, run
from app.uploads import uploaded_photo
from eovseg.errors import ConfigError, EovsegError
from eovseg.presets import preset_names

Answer = tuple[dict[str, Any], list[str]]
# Options of events that run the model and of which only the latest request counts.
RUN_MODEL: dict[str, Any] = {"show_progress": "minimal", "trigger_mode": "always_last", **MODEL, **PRIVATE}


def html_component(elem_id: str, main: bool = False) -> gr.HTML:
    """A component for the fragments of app/tabs/pieces.py; the one with `main` shows when the model is running."""
    return gr.HTML(apply_default_css=False, elem_id=elem_id, elem_classes="tab-body main" if main else "tab-body")


def add_endpoint(function: Callable[..., Answer], name: str, own: Callable[[], list[Component]]) -> None:
    """Makes `function(photo, words, preset, ..., model)` the endpoint `/name`; `own()` makes the inputs in between.

    The inputs are hidden components, because those of `gr.api` would read any path of the server.
    """
    with gr.Row(visible=False):
        inputs: list[Component] = [
            uploaded_photo(label="photo"),
            gr.Textbox(label="words"),
            gr.Dropdown(["", *preset_names()], value="", label="preset"),
            *own(),
            gr.Textbox("", label="model"),
        ]
        outputs = [gr.JSON(label="numbers"), gr.Files(label="files")]
        # preprocess=False, so that our loader reports a file that is not a photo.
        gr.Button().click(function, inputs, outputs, api_name=name, preprocess=False, show_progress="hidden", **MODEL)


def answer_endpoint(
    page: Page,
    photo: dict[str, Any] | None,
    words: str,
    preset: str | None,
    model: str | None,
    work: Callable[[Session, Path], dict[str, Any]],
) -> Answer:
    """Runs `work(session, folder)` in a temporary session; returns its numbers and copies of the files in `folder`.

    Raises `gr.Error` with one sentence if the request cannot be answered.
    """
    path = path_of(photo)
    if path is None:
        raise gr.Error("Give a photo to analyse.", print_exception=False)
    session = Session()
    try:
        for name, text in (("words", words), ("preset", preset), ("model", model)):
            if not isinstance(text or "", str):
                raise ConfigError(f"{name} must be text, not {type(text).__name__}.")
        request = make_request(words or "", preset or None, False, None)
        with tempfile.TemporaryDirectory(prefix="eovseg-") as folder:

            def served() -> dict[str, Any]:
                run(session, page.models.get(model or None), path, request)
                return work(session, Path(folder))

            numbers = page.pool.run(served)
            files = [save_file_to_cache(file, get_upload_folder()) for file in sorted(Path(folder).iterdir())]
        return numbers, files
    except EovsegError as error:
        raise gr.Error(str(error), print_exception=False) from error
    finally:
        session.close()


def whole_number(name: str, value: object, low: int, high: int) -> int:
    """An integer from a request; raises `ConfigError` for other types and values outside low..high."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not isinstance(value, int | float) or not whole:
        raise ConfigError(f"{name}={str(value)[:40]!r} must be a whole number from {low} to {high}.")
    if not low <= value <= high:
        raise ConfigError(f"{name}={str(int(value))[:40]} is outside {low} to {high}.")
    return int(value)


def nan_to_none(value: float) -> float | None:
    """A number for JSON, in which NaN (unknown) becomes null."""
    return None if math.isnan(value) else value
