"""The gate around a small ASGI application: which requests pass, and the status of those that do not."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio
import pytest
from fastapi import Body, FastAPI, HTTPException, UploadFile
from gradio.route_utils import API_PREFIX
from gradio.utils import get_upload_folder
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from app.gate import OPEN, Gate
from app.layout import build
from app.limits import BODY_BYTES
from app.page import Page
from eovseg.assets import asset_path
from tests.app.fake_predictor import FakePredictor

# Routes of Gradio 6.31 that the page does not use: they write files, contact other servers or expose other visitors.
CLOSED = (
    "/gradio_api/dev/reload", "/gradio_api/runs", "/gradio_api/proxy={url_path:path}", "/gradio_api/stream/{event_id}",
    "/gradio_api/deep_link", "/gradio_api/component_server", "/gradio_api/process_recording", "/monitoring",
    "/gradio_api/vibe-edit", "/gradio_api/run/{api_name}", "/gradio_api/api/{api_name}",
    "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}",
)  # fmt: skip


def gated(answer: Callable[..., Awaitable[None]] | FastAPI) -> TestClient:
    return TestClient(Gate(answer), raise_server_exceptions=False)


def a_new_gradio() -> FastAPI:
    """A Gradio of the future: known routes and an unknown one."""
    app = FastAPI()

    @app.get("/gradio_api/brand_new")
    @app.get("/brand_new")
    @app.get("/config")
    def answer() -> str:
        return "answered"

    @app.post("/gradio_api/queue/join")
    def join(body: dict[str, Any]) -> str:
        return f"{len(body)} values"

    @app.post("/gradio_api/upload")
    def upload(files: UploadFile) -> str:
        return str(files.size)

    @app.post("/gradio_api/cancel")
    def status(code: int = Body(embed=True)) -> None:
        raise HTTPException(code, "own words")

    return app


def test_unlisted_routes_are_not_found() -> None:
    client = gated(a_new_gradio())
    for path in ("/brand_new", "/gradio_api/brand_new", "/config/x", "/CONFIG", "/gradio_api/../brand_new"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is nothing at this address."), path
    assert client.get("/config").json() == "answered"
    assert not any(OPEN.fullmatch(path) for path in ("", "//config", "/config\n", "/gradio_api/info/../runs", "/file"))


def paths_of(routes: Iterable[Any]) -> Iterator[str]:
    for route in routes:
        included = getattr(route, "original_router", None)  # newer versions of FastAPI keep an included router
        if included is not None:
            yield from (
                path if path.startswith(API_PREFIX) else API_PREFIX + path for path in paths_of(included.routes)
            )
        else:
            yield str(getattr(route, "path", ""))


def test_needed_routes_are_open_and_all_others_closed() -> None:
    """In the installed version; a path that has gone is named."""
    demo = build(Page(FakePredictor()))
    app = gradio.routes.App.create_app(demo)
    paths = set(paths_of(app.routes))
    for closed in CLOSED:
        assert not OPEN.fullmatch(closed), closed
    needed = {"/", "/config", "/theme.css", "/login", "/assets/{path:path}", "/static/{path:path}"} | {
        f"/gradio_api/{name}" for name in ("info", "queue/join", "queue/data", "cancel", "upload", "call/{api_name}",
            "call/v2/{api_name}", "call/{api_name}/{event_id}", "heartbeat/{session_hash}", "startup-events")
    }  # fmt: skip
    assert needed <= paths, f"gradio {gradio.__version__} has no {needed - paths}"
    assert all(OPEN.fullmatch(path) for path in needed)


def test_every_event_of_the_page_uses_the_queue() -> None:
    """Events without a queue are called through run/predict, which is closed."""
    functions = build(Page(FakePredictor())).fns.values()
    assert [fn.api_name for fn in functions if fn.fn is not None and fn.queue is False] == []


def test_a_body_that_is_too_large_gets_413_with_or_without_its_length() -> None:
    client = gated(a_new_gradio())

    def chunks(total: int) -> Any:
        yield b"["
        for _ in range(total // 1_000_000):
            yield b" " * 1_000_000

    for headers in ({}, {"content-type": "application/json"}, {"content-type": "text/plain"}):
        answer = client.post("/gradio_api/queue/join", content=chunks(BODY_BYTES + 2_000_000), headers=headers)
        assert (answer.status_code, "8 MB" in answer.json()["detail"]) == (413, True)
    answer = client.post(
        "/gradio_api/upload", content=chunks(35_000_000), headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert (answer.status_code, "33 MB" in answer.json()["detail"]) == (413, True)
    answer = client.post("/gradio_api/queue/join", content=b"{}", headers={"content-length": "many"})
    assert (answer.status_code, answer.json()["detail"]) == (400, "The length of this request is not a whole number.")
    answer = client.post("/gradio_api/queue/join", content=b"{}", headers={"content-length": "9" * 5000})
    assert (answer.status_code, "8 MB" in answer.json()["detail"]) == (413, True)
    assert client.post("/gradio_api/queue/join", json={"a": 1}).json() == "1 values", "a control"


@pytest.mark.parametrize("code", [400, 401, 404, 413, 422, 503])
def test_the_status_of_gradio_is_kept(code: int) -> None:
    answer = gated(a_new_gradio()).post("/gradio_api/cancel", json={"code": code})
    assert (answer.status_code, answer.json()["detail"]) == (code, "own words")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyError("x"), 400, "not a request that the page makes"),
        (RecursionError(), 400, "not a request that the page makes"),
        (OSError(28, "No space left on device"), 500, "see its log"),
        (MemoryError(), 500, "see its log"),
    ],
)
def test_server_errors_get_status_500_and_others_400(error: Exception, status: int, said: str) -> None:
    async def fail(*_: Any) -> None:
        raise error

    answer = gated(fail).get("/config")
    assert answer.status_code == status and said in answer.json()["detail"]


def test_an_interrupted_answer_is_closed() -> None:
    async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError

    assert [message.get("more_body", False) for message in sent(breaks_off, "/config")[1:]] == [True, False]


def test_web_sockets_are_closed() -> None:
    client = gated(a_new_gradio())
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/gradio_api/queue/join"):
        pass


def test_a_closed_route_stays_closed_with_a_served_file_in_its_path() -> None:
    example = asset_path("photos/bear.jpg")
    client = TestClient(Gate(a_file_server(), [example.parent]))
    for route in (
        "/gradio_api/proxy=http://127.0.0.1:1/file=", "/gradio_api/proxy=x/file/", "/monitoring/file=",
        "/gradio_api/stream/x/file=", "/gradio_api/dev/reload/file=", "/gradio_api/x/gradio_api/file=", "/file=",
    ):  # fmt: skip
        answer = client.get(f"{route}{example}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is nothing at this address."), route
    for route in ("/gradio_api/file=", "/gradio_api/file/"):
        assert client.get(f"{route}{example}").json() == "answered", "a control"


def a_file_server() -> FastAPI:
    """Answers every request."""
    app = FastAPI()

    @app.get("/{path:path}")
    def answer() -> str:
        return "answered"

    return app


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000, "x" * 300 + ".png", "a\0b"])
def test_invalid_file_names_are_not_served(name: str) -> None:
    for folder in (get_upload_folder(), ""):
        assert sent(a_file_server(), f"/gradio_api/file={folder}/{name}")[0]["status"] == 403


def sent(application: Callable[..., Awaitable[None]] | FastAPI, path: str) -> list[MutableMapping[str, Any]]:
    """The messages that a gate sends for a path, which may be one that no client would send."""
    messages: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    async def ask() -> None:
        await Gate(application)({"type": "http", "path": path, "headers": []}, receive, send)

    with ThreadPoolExecutor(1) as thread:  # the browser tests keep an event loop in this one
        thread.submit(asyncio.run, ask()).result()
    return messages


def test_only_uploads_may_have_the_size_of_an_upload() -> None:
    client = gated(a_new_gradio())
    answer = client.post("/gradio_api/call/upload", content=b" " * (BODY_BYTES + 1))
    assert (answer.status_code, "8 MB" in answer.json()["detail"]) == (413, True)


def test_headers_of_every_answer() -> None:
    paths = ("/config", "/brand_new", "/gradio_api/file=/etc/passwd")
    answers = [gated(a_new_gradio()).get(path) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 404, 403]
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}
