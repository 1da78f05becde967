"""The private names of Gradio that app/gradio_internals.py uses; a failure names the installed version."""

import asyncio
import logging
import threading
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio
import pytest
from gradio.context import LocalContext
from gradio.queueing import Event, EventQueue, Queue
from gradio.state_holder import StateHolder
from packaging.requirements import Requirement

from app import gradio_internals
from app.gradio_internals import (
    KNOWN_GOOD,
    forget_callers,
    forget_messages,
    keep_mcp_files_in,
    superseded,
    visitor_waits,
)
from app.page import Page
from tests.app.conftest import serving
from tests.app.fake_predictor import FakePredictor
from tests.app.gradio_calls import Caller

ROOT = Path(__file__).parent.parent.parent
HERE = f"gradio {gradio.__version__} (last known to be good: {KNOWN_GOOD})"


def test_the_private_names_exist() -> None:
    blocks = gradio.Blocks()
    queue, holder = Queue(True, 1, 1, None, blocks), StateHolder()
    function = SimpleNamespace(concurrency_id="c", outputs=[], connection="sse", time_limit=None)
    event = Event("session", function, SimpleNamespace(), None)  # type: ignore[arg-type]
    wanted: dict[str, tuple[Any, tuple[str, ...]]] = {
        "gradio.context.LocalContext": (LocalContext, ("blocks", "event_id")),
        "gradio.queueing.Queue": (
            queue,
            (
                "event_ids_to_events", "event_queue_per_concurrency_id", "pending_event_ids_session",
                "pending_messages_per_session",
            ),
        ),
        "gradio.queueing.EventQueue": (EventQueue("c", 1), ("queue",)),
        "gradio.queueing.Event": (event, ("alive", "concurrency_id", "fn", "session_hash")),
        "gradio.state_holder.StateHolder": (holder, ("session_data", "time_last_used")),
        "gradio.mcp": (gradio.mcp, ("DEFAULT_TEMP_DIR",)),
        "gradio.Blocks": (blocks, ("state_holder", "process_api", "fns")),
    }  # fmt: skip
    missing = [
        f"{owner}.{name}" for owner, (part, names) in wanted.items() for name in names if not hasattr(part, name)
    ]
    assert missing == [], f"{HERE} has no {', '.join(missing)}: change app/gradio_internals.py"


def test_the_pinned_version_is_the_checked_one() -> None:
    """`KNOWN_GOOD` is the version of requirements.txt, whatever is installed, and pyproject.toml allows it."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line.startswith("gradio==")]
    assert pinned == [f"gradio=={KNOWN_GOOD}"], f"check app/gradio_internals.py with {pinned}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [Requirement(line) for lines in project["optional-dependencies"].values() for line in lines]
    allowed = [extra.specifier.contains(KNOWN_GOOD) for extra in extras if extra.name == "gradio"]
    assert len(allowed) == 2 and all(allowed)


class Waiting(FakePredictor):
    """Blocks `decode` until `go_on` is set, and records whether its visitor is still connected."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.waits: Any = None

    def decode(self, *given: Any, **named: Any) -> Any:
        if self.images_encoded > 1:
            self.waits = visitor_waits()
            self.reached.set()
            assert self.go_on.wait(60)
        return super().decode(*given, **named)


def test_the_private_names_still_mean_the_same() -> None:
    """In a running server, events know their visitor, repeated presses are noticed, and old data is dropped."""
    predictor = Waiting()
    page = Page(predictor)
    found: list[bool] = []
    page_superseded = superseded

    with serving(page) as demo:
        caller = Caller(demo.local_url)
        joined = caller.join_segment(caller.photo(40, 30), "sky: stuff")
        assert predictor.reached.wait(60)
        assert predictor.waits() is True, HERE
        event = next(iter(demo._queue.event_ids_to_events.values()))
        token = LocalContext.blocks.set(demo), LocalContext.event_id.set(event._id)
        found.append(page_superseded())
        line = demo._queue.event_queue_per_concurrency_id[event.concurrency_id]
        line.queue.append(event)
        found.append(page_superseded())
        line.queue.remove(event)
        LocalContext.blocks.reset(token[0])
        LocalContext.event_id.reset(token[1])
        event.alive = False
        assert predictor.waits() is False, HERE
        event.alive = True
        predictor.go_on.set()
        assert caller.read_segment(joined).labels == {"sky"}
        assert found == [False, True], HERE
        assert len(demo.state_holder.session_data) > 0, HERE
        now = 4e9
        forget_callers(demo, now, 3600)
        assert len(demo.state_holder.session_data) == 0, HERE
        demo._queue.pending_event_ids_session["nobody"] = {"e"}
        demo._queue.pending_messages_per_session["nobody"] = asyncio.Queue()
        notebook: dict[str, float] = {}
        forget_messages(demo, notebook, now, 600)
        forget_messages(demo, notebook, now + 601, 600)
        assert "nobody" not in demo._queue.pending_event_ids_session, HERE
        assert "nobody" not in demo._queue.pending_messages_per_session, HERE


def test_a_different_gradio_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(gradio_internals, "LocalContext", SimpleNamespace())
    monkeypatch.delattr("gradio.mcp.DEFAULT_TEMP_DIR")
    with caplog.at_level(logging.WARNING):
        assert [visitor_waits()() for _ in range(3)] == [True] * 3
        assert superseded() is False
        forget_callers(SimpleNamespace(), 0, 1)
        forget_messages(SimpleNamespace(), {}, 0, 1)
        assert keep_mcp_files_in("folder") == ""
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 5 and all(gradio.__version__ in text for text in told)
    assert "visitors who left" in told[0]
