"""All access to undocumented state of Gradio: its queue, its data about callers, and its folder for MCP files.

Gradio's public API cannot do what these five functions do. They were last checked with version `KNOWN_GOOD`;
tests/app/test_gradio_internals.py checks the installed version and reports missing attributes. The page then works
without that feature and logs one warning. Names that Gradio lets others override or import (`process_api` in
app/calls.py, its errors in app/gate.py) are used directly.
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


def _with_fallback(fallback: Callable[[], T], consequence: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Calls `fallback()` instead if Gradio has changed, and logs once the sentence `consequence`."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        reported: list[str] = []

        @functools.wraps(function)
        def called(*arguments: P.args, **named: P.kwargs) -> T:
            try:
                return function(*arguments, **named)
            except (AttributeError, TypeError) as error:
                if not reported:
                    reported.append(consequence)
                    _LOG.warning(
                        "The internals of Gradio %s differ from those of %s (%s): %s.",
                        gradio.__version__,
                        KNOWN_GOOD,
                        error,
                        consequence,
                    )
                return fallback()

        return called

    return decorate


def _event() -> Any:
    """Gradio's record of the event that this thread serves; None outside of an event."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    return blocks._queue.event_ids_to_events.get(number) if blocks is not None and number else None


@_with_fallback(lambda: lambda: True, "requests of visitors who left run until the time limit")
def visitor_waits() -> Callable[[], bool]:
    """Whether the client of the current Gradio event is still connected; always true outside of an event."""
    event = _event()
    if event is None:
        return lambda: True
    _ = event.alive
    return lambda: bool(event.alive)


@_with_fallback(lambda: False, "repeated requests are computed every time")
def superseded() -> bool:
    """Whether the queue holds a newer event of the same browser tab with the same outputs as the current event."""
    event, blocks = _event(), LocalContext.blocks.get(None)
    if event is None or blocks is None:
        return False
    line = blocks._queue.event_queue_per_concurrency_id.get(event.concurrency_id)
    shown = [part._id for part in event.fn.outputs]
    return line is not None and any(
        other.session_hash == event.session_hash and [part._id for part in other.fn.outputs] == shown
        for other in list(line.queue)
    )


@_with_fallback(lambda: None, "Gradio's data about a visitor is freed only when others need the space")
def forget_callers(blocks: Any, now: float, seconds: float) -> None:
    """Drops Gradio's data about clients that were idle for more than `seconds` at `now` (seconds since 1970)."""
    holder = blocks.state_holder
    for key, used in list(holder.time_last_used.items()):
        if (datetime.fromtimestamp(now) - used).total_seconds() > seconds:
            holder.session_data.pop(key, None)
            holder.time_last_used.pop(key, None)


@_with_fallback(lambda: None, "results that nobody reads stay in memory")
def forget_messages(blocks: Any, unread: dict[str, float], now: float, seconds: float) -> None:
    """Drops message lists that were read, or not read for `seconds` at `now` (seconds since 1970).

    The caller keeps `unread` between calls: it holds the time since which each list has been waiting.
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


@_with_fallback(lambda: "", "photos that language models send are not deleted")
def keep_mcp_files_in(folder: str) -> str:
    """Stores photos that language models send (--mcp) in `folder`; returns the previous folder.

    By default they are stored outside the upload folder, because Gradio reads the path only when it is imported.
    """
    before, gradio.mcp.DEFAULT_TEMP_DIR = gradio.mcp.DEFAULT_TEMP_DIR, folder
    return before
