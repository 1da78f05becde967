"""Where visitors' requests are served: a fixed number of threads, a time limit, and a stop for those who left.

One thread for the model keeps its memory in one place and its workers warm. Threads can't be killed, so work stops by
itself: every part of the network asks `checkpoint()` before it runs. Work that never asks is left behind after a while,
and a fresh thread takes its place, so that one hung request does not hold up the others.
"""

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gradio.context import LocalContext
from torch.nn.modules.module import register_module_forward_pre_hook

from app.limits import REQUEST_SECONDS
from eovseg.errors import EovsegError

_LOG = logging.getLogger(__name__)
GRACE = 5.0  # seconds beyond the limit in which work may still reach a checkpoint
MAX_HUNG = 3
T = TypeVar("T")


class TookTooLong(EovsegError):
    """The time limit of a request has passed."""


class VisitorLeft(EovsegError):
    """Nobody waits for the result any more."""


class Errand:
    """One request: what to do, until when, and who waits."""

    def __init__(self, work: Callable[[], Any], seconds: float, waits: Callable[[], bool]) -> None:
        self.work, self.seconds, self.waits = work, seconds, waits
        self.context = contextvars.copy_context()
        self.begun, self.done = threading.Event(), threading.Event()
        self.deadline = float("inf")
        self.value: Any = None
        self.error: BaseException | None = None

    def serve(self) -> None:
        """Do the work in this thread and keep its value or its error."""
        self.deadline = time.monotonic() + self.seconds
        self.begun.set()
        _serving.errand = self
        try:
            checkpoint()
            self.value = self.context.run(self.work)
        except BaseException as error:  # whatever it is, it belongs to the one who waits
            self.error = error
        finally:
            _serving.errand = None
            self.done.set()


_serving = threading.local()


def checkpoint(*_: Any) -> None:
    """Stop the request that this thread serves where its time is over or its visitor has left; else do nothing.

    Raises `TookTooLong` and `VisitorLeft`.
    """
    errand: Errand | None = getattr(_serving, "errand", None)
    if errand is None:
        return
    if time.monotonic() > errand.deadline:
        raise TookTooLong(too_long(errand.seconds))
    if not errand.waits():
        raise VisitorLeft("The visitor left before the result was there.")


register_module_forward_pre_hook(checkpoint)


def too_long(seconds: float) -> str:
    return (
        f"This took longer than the {seconds:g} seconds that a request may take and was stopped; use fewer words or a "
        "smaller photo, or try again when the server is less busy."
    )


class Desk:
    """`threads` that serve one errand each, in the order of their arrival."""

    def __init__(self, name: str, threads: int = 1, seconds: float = REQUEST_SECONDS, grace: float = GRACE) -> None:
        self.seconds = seconds
        self.hung = 0
        self._name, self._grace = name, grace
        self._errands: queue.SimpleQueue[Errand] = queue.SimpleQueue()
        for _ in range(threads):
            self._hire()

    def run(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """What `work()` returns or raises; `seconds` None means the desk's own limit.

        Raises `TookTooLong` and `VisitorLeft`.
        """
        if getattr(_serving, "errand", None) is not None:
            return work()  # part of a request that is being served
        if self.hung >= MAX_HUNG:
            raise TookTooLong("The model no longer answers; whoever runs this server has to start it again.")
        errand = Errand(work, self.seconds if seconds is None else seconds, visitor_waits())
        self._errands.put(errand)
        errand.begun.wait()
        if not errand.done.wait(min(errand.seconds + self._grace, threading.TIMEOUT_MAX)):
            self.hung += 1
            _LOG.error("A request hangs for %.0f s; its thread is left behind (%d so far).", errand.seconds, self.hung)
            self._hire()
            raise TookTooLong(too_long(errand.seconds))
        if errand.error is not None:
            raise errand.error
        value: T = errand.value
        return value

    def _hire(self) -> None:
        threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            errand = self._errands.get()
            errand.serve()
            late = time.monotonic() > errand.deadline + self._grace
            del errand  # its photo is not held until the next one comes
            if late:
                self.hung -= 1  # it hung, and another thread has its place
                return


def visitor_waits() -> Callable[[], bool]:
    """Whether the browser or script behind Gradio's present event is still there; always true outside of one."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = blocks._queue.event_ids_to_events.get(number) if blocks is not None and number else None
    if event is None:
        return lambda: True
    return lambda: event.alive


def superseded() -> bool:
    """Whether the same tab already asks again for what the present event is to show."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if blocks is None or not number:
        return False
    event = blocks._queue.event_ids_to_events.get(number)
    if event is None:
        return False
    line = blocks._queue.event_queue_per_concurrency_id.get(event.concurrency_id)
    shown = [part._id for part in event.fn.outputs]
    return line is not None and any(
        other.session_hash == event.session_hash and [part._id for part in other.fn.outputs] == shown
        for other in list(line.queue)
    )
