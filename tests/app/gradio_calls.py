"""A visitor without a browser: sends the same requests as the page's script and `gradio_client`."""

import io
import json
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
import numpy as np
from PIL import Image

API = "gradio_api"
TIMEOUT = 300.0  # seconds


@dataclass(frozen=True)
class Segmented:
    """The answer of `/segment`: JSON and files, or the error message."""

    found: dict[str, Any] | None
    files: Sequence[dict[str, Any]] = ()
    error: str = ""

    @property
    def labels(self) -> set[str]:
        assert self.found is not None, self.error
        return {segment["label"] for segment in self.found["segments"]}


class Caller:
    """A visitor with their own session."""

    def __init__(self, address: str, client: httpx.Client | None = None) -> None:
        # Requests to this machine bypass a developer's proxy.
        self.client = client or httpx.Client(base_url=address, timeout=TIMEOUT, trust_env=False)
        if client is None:
            weakref.finalize(self, self.client.close)
        self.session = uuid.uuid4().hex[:12]
        self.said: list[str] = []  # the messages that Gradio showed

    def upload(self, name: str, content: bytes, kind: str = "application/octet-stream") -> str:
        answer = self.client.post(f"{API}/upload", files={"files": (name, content, kind)})
        answer.raise_for_status()
        path: str = answer.json()[0]
        return path

    def photo(self, width: int, height: int, pixels: np.ndarray | None = None) -> str:
        """Uploads a new photo; returns its path on the server."""
        if pixels is None:
            pixels = np.random.default_rng(width * height).integers(0, 255, (height, width, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return self.upload(f"photo-{width}.png", buffer.getvalue())

    # The public endpoint, as curl calls it.

    def join_segment(self, photo: str, words: str) -> httpx.Response:
        record = {"path": photo, "meta": {"_type": "gradio.FileData"}}
        return self.client.post(f"{API}/call/segment", json={"data": [record, words, "", False, *[None] * 9]})

    def read_segment(self, joined: httpx.Response) -> Segmented:
        joined.raise_for_status()
        name, data = self.read_call("segment", joined.json()["event_id"])
        if name == "complete":
            return Segmented(data[0], data[1])
        return Segmented(None, (), str((data or {}).get("error")))

    def read_call(self, endpoint: str, event: str) -> tuple[str, Any]:
        name = ""
        with self.client.stream("GET", f"{API}/call/{endpoint}/{event}", timeout=TIMEOUT) as lines:
            for line in lines.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name in ("complete", "error"):
                    return name, json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended without an answer")

    def segment(self, photo: str, words: str) -> Segmented:
        return self.read_segment(self.join_segment(photo, words))

    def ask_and_leave(self, photo: str, words: str, after: Callable[[], bool]) -> None:
        """Sends a request, listens until `after()` is true, and disconnects."""
        event = self.join_segment(photo, words).json()["event_id"]
        with self.client.stream("GET", f"{API}/call/segment/{event}", timeout=TIMEOUT):
            for _ in range(500):
                if after():
                    return
                time.sleep(0.02)
        raise AssertionError("the request never began")

    # The page's private events, as its script calls them.

    @cached_property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("config").json()
        return found

    def part(self, elem_id: str) -> int:
        return next(int(c["id"]) for c in self.config["components"] if c["props"].get("elem_id") == elem_id)

    def event(self, elem_id: str | None, name: str) -> dict[str, Any]:
        """The event `name` of a component; the page's own `load` has none."""
        part = None if elem_id is None else self.part(elem_id)
        for dependency in self.config["dependencies"]:
            if any(target[1] == name and (part is None or target[0] == part) for target in dependency["targets"]):
                found: dict[str, Any] = dependency
                return found
        raise AssertionError(f"no event {name} of {elem_id}")

    def join(self, event: dict[str, Any], data: Sequence[Any], event_data: Any = None) -> httpx.Response:
        body = {"fn_index": event["id"], "data": list(data), "session_hash": self.session, "event_data": event_data}
        return self.client.post(f"{API}/queue/join", json=body)

    def read(self, events: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The outputs of all `events` of this session by id; Gradio's messages have the key "log"."""
        done: dict[str, dict[str, Any]] = {}
        said = self.said = []
        with self.client.stream(
            "GET", f"{API}/queue/data", params={"session_hash": self.session}, timeout=TIMEOUT
        ) as lines:
            for line in lines.iter_lines():
                if not line.startswith("data: "):
                    continue
                message = json.loads(line.removeprefix("data: "))
                if message["msg"] == "log":
                    said.append(message["log"])
                elif message["msg"] == "process_completed":
                    done[message["event_id"]] = {**message, "log": list(said)}
                    if set(done) >= set(events):
                        return done
        raise AssertionError(f"the stream ended before {set(events) - set(done)}")

    def do(self, event: dict[str, Any], data: Sequence[Any], event_data: Any = None) -> dict[str, Any]:
        joined = self.join(event, data, event_data)
        joined.raise_for_status()
        number = joined.json()["event_id"]
        return self.read([number])[number]

    def open_page(self) -> dict[str, Any]:
        """The first result, from the page's load event."""
        stage: dict[str, Any] = self.do(self.event(None, "load"), [])["output"]["data"][1]
        return stage

    def press(self, photo: str, words: str, panel: Any = None) -> str:
        """Presses Segment; returns the event's id."""
        data = [None, {"path": photo, "meta": {"_type": "gradio.FileData"}}, words, "", False, panel]
        joined = self.join(self.event("go", "click"), data)
        joined.raise_for_status()
        return str(joined.json()["event_id"])

    def read_pressed(self, events: Sequence[str]) -> list[dict[str, Any] | None]:
        """The stage values of the presses; None for a press that changed nothing."""
        done = self.read(events)
        stages = []
        for number in events:
            assert done[number]["success"], done[number]["output"]
            stage = done[number]["output"]["data"][1]
            stages.append(stage if isinstance(stage, dict) and "segments" in stage else None)
        return stages
