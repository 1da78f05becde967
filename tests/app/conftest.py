"""Fixtures: a page with the fake predictor, a server of it, and a visit in the browser."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.layout import build, launch_options
from app.page import Page
from app.server import served
from tests.app.fake_predictor import FakePredictor
from tests.app.gradio_calls import Caller
from tests.app.visit import Visit


@pytest.fixture
def predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture
def page(predictor: FakePredictor) -> Page:
    return Page(predictor)


@pytest.fixture
def photo_file(tmp_path: Path) -> Callable[..., str]:
    """Writes a photo of a size and returns its path."""

    def write(width: int = 60, height: int = 40, name: str = "photo.png") -> str:
        values = np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """URL of a server of the page with the fake predictor, on a free port."""
    demo = build(Page(FakePredictor()))
    demo.queue(max_size=8).launch(
        server_name="127.0.0.1", server_port=free_port(), prevent_thread_lock=True, quiet=True, **launch_options()
    )
    yield demo.local_url
    demo.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    """A visit; fails if the browser console has an error at the end."""
    visit = Visit(browser, address)
    yield visit
    visit.context.close()
    assert visit.complaints == []


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Page]]:
    page = Page(FakePredictor())
    with served(page, server_name="127.0.0.1", server_port=free_port(), quiet=True) as demo:
        yield demo.local_url, page


@pytest.fixture
def caller(server: tuple[str, Page]) -> Caller:
    return Caller(server[0])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
