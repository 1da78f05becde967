"""What is turned away before Gradio sees it: bodies that are too large, routes that this page does not use, and files
that are neither an upload, nor a result, nor an example."""

import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from gradio.utils import get_upload_folder

from app.limits import BODY_BYTES, UPLOAD_BYTES

_LOG = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Gradio's own extras: they write files, reach out to other servers or tell about others.
CLOSED = re.compile(
    r"/(deep_link|runs|run-history|proxy=|monitoring|process_recording|vibe-|undo-vibe-|dev/|stream/|component_server)"
)
FILE = re.compile(r"/file[=/](.*)$", re.DOTALL)
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin")]


class Gate:
    """ASGI middleware around Gradio; `folders` are served besides the upload folder."""

    def __init__(self, app: Callable[..., Awaitable[None]], folders: Sequence[Path] = ()) -> None:
        self._app = app
        self._folders = [os.path.realpath(folder) for folder in folders]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        limit = UPLOAD_BYTES if scope["path"].rstrip("/").endswith("/upload") else BODY_BYTES
        refusal = self._refusal(scope["path"]) or _too_large(scope, limit)
        if refusal is not None:
            await answer.sentence(*refusal)
            return
        try:
            await self._app(scope, _counted(receive, limit), answer)
        except Exception as error:
            # A request that Gradio did not expect. Its traceback is for nobody to read, and would fill the log.
            _LOG.warning("Request to %.200r failed: %.200r", scope["path"], error)
            if answer.started:
                await answer.end()
            else:
                await answer.sentence(400, "This request is not one that the page makes; see its API for the form.")

    def _refusal(self, path: str) -> tuple[int, str] | None:
        found = FILE.search(path)
        if found is not None:
            return None if self._served(found[1]) else (403, "This file is not served.")
        if CLOSED.search(path):
            return 404, "This page has nothing here."
        return None

    def _served(self, path: str) -> bool:
        """Whether `path`, links followed, is a file of the upload folder or of one that is open to all."""
        if "\0" in path:
            return False
        real = os.path.realpath(path)
        folders = (*self._folders, os.path.realpath(get_upload_folder()))
        return Path(real).is_file() and any(os.path.commonpath((real, folder)) == folder for folder in folders)


class _Answer:
    """`send` with our headers; remembers whether an answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = self.ended = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        """End an answer that broke off, so that its reader does not wait."""
        if not self.ended:
            await self({"type": "http.response.body", "body": b""})

    async def sentence(self, status: int, detail: str) -> None:
        body = json.dumps({"detail": detail}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _too_large(scope: Scope, limit: int) -> tuple[int, str] | None:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return (413, _sentence(limit)) if not length.isdigit() or int(length) > limit else None


def _sentence(limit: int) -> str:
    return f"This request is larger than {limit / 1e6:g} MB, which is the most that is taken here."


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive` that stops a body without a (true) length at `limit` bytes."""
    seen = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, _sentence(limit))
        return message

    return counted
