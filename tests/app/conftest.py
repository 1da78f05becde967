"""Fixtures: a page with the fake predictor, a server of it, and a visit in the browser."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

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


@contextmanager
def serving(page: Page | None = None, **options: Any) -> Iterator[gr.Blocks]:
    """Serves a page on a free port, by default one with the fake predictor."""
    page = page or Page(FakePredictor())
    with served(page, server_name="127.0.0.1", server_port=free_port(), quiet=True, **options) as demo:
        yield demo


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Page]]:
    page = Page(FakePredictor())
    with serving(page) as demo:
        yield demo.local_url, page


@pytest.fixture(scope="module")
def address(server: tuple[str, Page]) -> str:
    """URL of a server of the page with the fake predictor."""
    return server[0]


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Visit]]:
    """Opens the page, or another address, for a new visitor; fails if a browser console has an error at the end."""
    visits: list[Visit] = []

    def opened(where: str = address, **options: Any) -> Visit:
        visits.append(Visit(browser, where, **options))
        return visits[-1]

    yield opened
    for visit in visits:
        visit.context.close()
    assert [visit.complaints for visit in visits] == [[]] * len(visits)


@pytest.fixture
def visit(open_page: Callable[..., Visit]) -> Visit:
    return open_page()


@pytest.fixture
def caller(server: tuple[str, Page]) -> Caller:
    return Caller(server[0])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
