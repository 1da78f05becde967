"""Rejects requests before they reach Gradio: bodies that are too large, routes that are not on the page's list, and
files that are neither uploads, results nor examples."""

import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from gradio.route_utils import FnIndexInferError
from gradio.utils import get_upload_folder

from app.limits import BODY_BYTES, UPLOAD_BYTES

_LOG = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# The routes that the page, `gradio_client`, curl and --mcp use. All other routes of Gradio are refused.
OPEN = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|pwa_icon(/\d+)?|login|logout)/?|/(assets|static|svelte)/.+"
    r"|/gradio_api/((info|openapi\.json|user|login_check|token|app_id|startup-events|theme\.css|reset|cancel)/?"
    r"|queue/(join|data)|heartbeat/[^/]+|upload(_progress)?|call/(v2/)?[^/]+(/[^/]*)?|mcp(/.*)?)",
    re.DOTALL,
)
FILE = re.compile(r"/gradio_api/file[=/](.*)", re.DOTALL)
UPLOAD = "/gradio_api/upload"
CALL = re.compile(r"/gradio_api/call/(?:v2/)?([^/]+)/?", re.DOTALL)
OWN_FAULT = "The server could not answer this request; see its log."
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]


class Gate:
    """ASGI middleware around Gradio; files are served from `folders` and the upload folder only."""

    def __init__(self, app: Callable[..., Awaitable[None]], folders: Sequence[Path] = ()) -> None:
        self._app = app
        self._folders = [os.path.realpath(folder) for folder in folders]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # the page uses none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = UPLOAD_BYTES if scope["path"] == UPLOAD else BODY_BYTES
        exchange = _Exchange(receive, send, limit)
        refusal = self._refusal(scope["path"]) or _wrong_length(scope, limit)
        if refusal is None:
            refusal = await self._passed_on(scope, exchange)
        if refusal is not None:
            await exchange.sentence(*refusal)

    async def _passed_on(self, scope: Scope, exchange: "_Exchange") -> tuple[int, str] | None:
        """Passes the request to Gradio; returns a status and a sentence if Gradio failed to answer."""
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if exchange.refusal is None:
                # Gradio did not expect this request. A traceback would not help and would fill the log.
                _LOG.warning("Request to %.200r failed: %.200r", scope["path"], error)
                # No request can cause these two: a full disk and full memory are problems of the server.
                return (
                    (500, OWN_FAULT) if isinstance(error, OSError | MemoryError) else (400, _call_error(scope, error))
                )
        return exchange.refusal

    def _refusal(self, path: str) -> tuple[int, str] | None:
        found = FILE.fullmatch(path)
        if found is not None:
            return None if self._served(found[1]) else (403, "This file is not served.")
        return None if OPEN.fullmatch(path) else (404, "There is nothing at this address.")

    def _served(self, path: str) -> bool:
        """Whether `path`, after following links, is a file in the upload folder or in one of `folders`."""
        if "\0" in path:
            return False
        real = Path(os.path.realpath(path))
        folders = (*self._folders, os.path.realpath(get_upload_folder()))
        # Unlike Path.is_file, os.path.isfile returns False for a name that is too long for the file system.
        return any(real.is_relative_to(folder) for folder in folders) and os.path.isfile(real)  # noqa: PTH113


class _Exchange:
    """A `receive` that stops a body at `limit` bytes, whatever its stated length, and a `send` that adds our headers.

    Once a body is too large, Gradio's own response is dropped and `refusal` is sent instead.
    """

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive, self._send, self._limit = receive, send, limit
        self._seen = 0
        self._started = self._ended = False
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            self.refusal = (413, _too_large(self._limit))
            raise HTTPException(*self.refusal)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self.refusal is not None and not self._started:
            return
        if message["type"] == "http.response.start":
            self._started = True
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def sentence(self, status: int, detail: str) -> None:
        """Answers with one sentence; an interrupted answer is only closed, so that the client does not wait."""
        self.refusal = None
        if self._started:
            if not self._ended:
                await self.send({"type": "http.response.body", "body": b""})
            return
        body = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _wrong_length(scope: Scope, limit: int) -> tuple[int, str] | None:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit():
        return 400, "The length of this request is not a whole number."
    too_large = len(length) > 18 or int(length) > limit  # int() rejects thousands of digits
    return (413, _too_large(limit)) if too_large else None


def _too_large(limit: int) -> str:
    return f"This request is larger than the limit of {limit / 1e6:g} MB."


def _call_error(scope: Scope, error: Exception) -> str:
    """A sentence for a request that Gradio could not read."""
    called = CALL.fullmatch(scope["path"])
    if called is not None and isinstance(error, KeyError | FnIndexInferError):
        return f"There is no endpoint /{' '.join(called[1][:40].split())}; gradio_api/info lists the endpoints."
    if called is not None and isinstance(error, TypeError):  # its text names the missing or unknown argument
        return f"{str(error).partition(' Please click')[0][:200].rstrip('.')}; gradio_api/info lists the arguments."
    return "This is not a request that the page makes; its API documentation shows the right form."
