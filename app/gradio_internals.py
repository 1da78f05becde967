"""What the page does with Gradio's undocumented state: its queue, what it keeps of callers, and where MCP files lie.

The public API has nothing for these five functions. `KNOWN_GOOD` is the version that they were last checked with;
tests/app/test_gradio_internals.py checks the installed one and names it where a name is gone. On a server where one is
gone, the page goes on without it and the log says so once. What Gradio lets others override or import (`process_api` in
app/calls.py, its errors in app/gate.py) is used where it is needed.
"""

import functools
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

import gradio
import gradio.mcp
from gradio.context import LocalContext

KNOWN_GOOD = "6.31.0"
_LOG = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def _or_without(fallback: Callable[[], T], lost: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """The decorated function, or `fallback()` where Gradio has changed; `lost` says in the log what no longer works."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        told: list[str] = []

        @functools.wraps(function)
        def called(*arguments: P.args, **named: P.kwargs) -> T:
            try:
                return function(*arguments, **named)
            except (AttributeError, TypeError) as error:
                if not told:
                    told.append(lost)
                    _LOG.warning(
                        "Gradio %s is not built as %s was (%s): %s.", gradio.__version__, KNOWN_GOOD, error, lost
                    )
                return fallback()

        return called

    return decorate


def _event() -> Any:
    """Gradio's record of the event that this thread serves; None outside of one."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    return blocks._queue.event_ids_to_events.get(number) if blocks is not None and number else None


@_or_without(lambda: lambda: True, "visitors who leave are noticed only when the time limit is over")
def visitor_waits() -> Callable[[], bool]:
    """Whether the browser or script behind Gradio's present event is still there; always true outside of one."""
    event = _event()
    if event is None:
        return lambda: True
    _ = event.alive
    return lambda: bool(event.alive)


@_or_without(lambda: False, "a request that was repeated is computed each time")
def superseded() -> bool:
    """Whether the same tab already asks again for what the present event is to show."""
    event, blocks = _event(), LocalContext.blocks.get(None)
    if event is None or blocks is None:
        return False
    line = blocks._queue.event_queue_per_concurrency_id.get(event.concurrency_id)
    shown = [part._id for part in event.fn.outputs]
    return line is not None and any(
        other.session_hash == event.session_hash and [part._id for part in other.fn.outputs] == shown
        for other in list(line.queue)
    )


@_or_without(lambda: None, "what Gradio keeps of a visitor goes only when others need the room")
def forget_callers(blocks: Any, now: float, seconds: float) -> None:
    """Drop what Gradio keeps of browsers and scripts that were idle for `seconds` before `now` (since 1970)."""
    holder = blocks.state_holder
    for key, used in list(holder.time_last_used.items()):
        if (datetime.fromtimestamp(now) - used).total_seconds() > seconds:
            holder.session_data.pop(key, None)
            holder.time_last_used.pop(key, None)


@_or_without(lambda: None, "results that nobody reads stay in memory")
def forget_messages(blocks: Any, unread: dict[str, float], now: float, seconds: float) -> None:
    """Drop lists of results that were read, and those that nobody read for `seconds` before `now` (since 1970).

    `unread` is the caller's own notebook between the rounds: since when each list has been waiting.
    """
    line = blocks._queue
    for key, waiting in list(line.pending_event_ids_session.items()):
        at_work = any(number in line.event_ids_to_events for number in list(waiting))
        since = unread.setdefault(key, now)
        if at_work:
            unread[key] = now
        elif not waiting or now - since > seconds:
            line.pending_event_ids_session.pop(key, None)
            line.pending_messages_per_session.pop(key, None)
            unread.pop(key, None)
    for key in set(unread) - set(line.pending_event_ids_session):
        del unread[key]


@_or_without(lambda: "", "photos that language models send stay on the disk")
def keep_mcp_files_in(folder: str) -> str:
    """Put photos that language models send (--mcp) into `folder`; returns the folder before.

    They would lie outside of the upload folder: Gradio reads their place once, when it is imported.
    """
    before, gradio.mcp.DEFAULT_TEMP_DIR = gradio.mcp.DEFAULT_TEMP_DIR, folder
    return before
