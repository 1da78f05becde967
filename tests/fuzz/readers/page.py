"""The page's URL as typed by a visitor, and API calls as sent by a script."""

import asyncio
import functools
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
from gradio.data_classes import SimplePredictBody
from gradio.utils import get_upload_folder
from gradio_client.utils import construct_args
from PIL import Image
from pydantic import ValidationError

from app.calls import FAILED
from app.examples import EXAMPLES
from app.inputs import make_request
from app.layout import build
from app.page import Page
from app.recipe import read_link
from app.session import Session, run
from eovseg.assets import asset_path
from eovseg.errors import ConfigError
from tests.app.fake_predictor import FakePredictor
from tests.fuzz.harness import Reader
from tests.fuzz.mutations import mutated

_PHOTO = {"path": "PHOTO", "meta": {"_type": "gradio.FileData"}}
_NAMED = {
    "photo": _PHOTO, "words": "dog; cat, kitten: thing; sky: stuff", "preset": "coco-panoptic-133",
    "preset_competes": True, "task": "instance", "alpha": 0.3, "beta": 0.7, "ensemble": "arithmetic",
    "score_threshold": 0.1, "overlap_threshold": 0.8, "void_threshold": 0.9, "model": "xs",
}  # fmt: skip
_ADDRESSES = (
    b"words=dog%3B+sky%3A+stuff&photo=bear.jpg&task=panoptic&alpha=0.3&beta=0.7&ensemble=geometric",
    b"words=sky&preset=coco-panoptic-133&competes=1&score_threshold=0.5&overlap_threshold=0.8&void_threshold=1",
    "words=Bär%2C+ours%0Agras&model=s&task=semantic".encode(),
)
_CALLS = (
    json.dumps({"data": list(_NAMED.values())}).encode(),
    json.dumps({"data": [_PHOTO, "dog; sky: stuff", "", False, *[None] * 9]}).encode(),
    json.dumps(_NAMED).encode(),
    json.dumps({"photo": _PHOTO, "words": "dog"}).encode(),
)
_IN_ADDRESSES = (
    b"words=", b"&", b"=", b"%00", b"%0A", b"%3B", b"%2C", b"%ff", b"alpha=nan", b"beta=1e999", b"task=", b"&model=l",
    b"preset=../../x", "；".encode(), "…".encode(), b"+" * 300, b"competes=1&preset=lvis-1203",
)  # fmt: skip
_IN_CALLS = (
    b"null", b"true", b"NaN", b"1e999", b"-1", b'"', b"\\u0000", b"\\ud800", b"[", b"{", b"]", b"}", b",", b'"path": 3',
    b'"/etc/passwd"', b'"https://example.com/x.png"', b'"data:image/png;base64,AAAA"', b'"meta": null', b'"x": 1, ',
)  # fmt: skip


def make_address(seed: int) -> bytes:
    """The query of a damaged link."""
    return mutated(_ADDRESSES, seed, _IN_ADDRESSES)


def make_call(seed: int) -> bytes:
    """The damaged body of a call, with values as a list or by name."""
    return mutated(_CALLS, seed, _IN_CALLS)


class _Small(FakePredictor):
    """Uses only a corner of the photo, because drawing a thousand classes on a full one takes seconds."""

    def encode_image(self, image: np.ndarray) -> np.ndarray:
        return super().encode_image(image[:9, :13])


@functools.cache
def _page() -> Page:
    return Page(_Small())


@functools.cache
def _blocks() -> gr.Blocks:
    return build(_page())


def open_address(path: Path) -> object:
    """Opens the page with the query in the file `path`."""
    query = dict(parse_qsl(path.read_bytes().decode("utf-8", "replace"), keep_blank_values=True))
    linked = read_link(query)
    if linked is None:
        return None
    assert linked.photo in EXAMPLES
    request = make_request(linked.words, linked.preset, linked.competes, linked.settings)
    return run(Session(), _page().models.get(linked.model), str(asset_path(f"photos/{linked.photo}")), request)


def call(path: Path) -> object:
    """Calls /segment with the body in the file `path`, bypassing Gradio's routes, which only parse it."""
    blocks = _blocks()
    function = next(fn for fn in blocks.fns.values() if fn.api_name == "segment")
    photo = Path(get_upload_folder()) / "fuzz.png"
    if not photo.exists():
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((9, 13, 3), np.uint8)).save(photo)
    blocks.upload_file_set.add(str(photo))
    inputs = _values(path.read_bytes().replace(b"PHOTO", str(photo).encode()))
    try:
        return asyncio.run(blocks.process_api(function, inputs, root_path="http://127.0.0.1"))
    except gr.Error as error:
        if error.message == FAILED and error.__cause__ is not None:  # a plain message, but caused by a bug of ours
            raise error.__cause__ from error
        raise ConfigError(error.message) from error


def _values(body: bytes) -> list[Any]:
    """The values of a call as parsed by Gradio's two routes; raises `ConfigError` where they respond with 4xx."""
    try:
        given = json.loads(body)
        if isinstance(given, dict) and "data" not in given:
            parameters = _blocks().get_api_info()["named_endpoints"]["/segment"]["parameters"]
            return construct_args(parameters, (), given)
        return SimplePredictBody.model_validate(given).data
    except (ValueError, RecursionError, ValidationError, TypeError) as error:
        raise ConfigError(f"Gradio refuses the body: {type(error).__name__}.") from error


READERS = [
    Reader("links of the page", make_address, open_address),
    Reader("calls of the page's API", make_call, call, suffix=".json"),
]
