"""Where visitors' requests are served: a fixed number of threads, a time limit, and a stop for those who left.

One thread for the model keeps its memory in one place and its workers warm. Threads can't be killed, so work stops by
itself: every torch function that such a thread calls asks `checkpoint()` first. Work that never asks is left behind
after a while, and a fresh thread takes its place, so that one hung request does not hold up the others.

What becomes of a request is decided once, by `Errand.settle`, under the lock of its desk: by its worker when the work
ends, or by its caller, who looks every quarter of a second whether the time is over, the worker has died, or the
visitor has left before the work began.
"""

import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from torch.overrides import TorchFunctionMode

from app.gradio_internals import visitor_waits
from app.limits import REQUEST_SECONDS
from eovseg.errors import EovsegError

_LOG = logging.getLogger(__name__)
GRACE = 5.0  # seconds beyond the limit until work that reaches no checkpoint is left behind
LOOK_SECONDS = 0.25  # between two looks of a caller at its request
MAX_HUNG = 3  # requests left behind; with as many, a desk refuses all others
T = TypeVar("T")


class TookTooLong(EovsegError):
    """The time limit of a request has passed."""


class VisitorLeft(EovsegError):
    """Nobody waits for the result any more."""


class WorkerDied(EovsegError):
    """The thread that served a request ended before the request did."""


class Errand:
    """One request: what to do, for how many seconds, and whether somebody still waits for it.

    Its desk's lock guards `worker`, `deadline` (on the clock of `time.monotonic`) and what `settle` sets.
    """

    def __init__(self, work: Callable[[], Any], seconds: float, waits: Callable[[], bool]) -> None:
        self.work, self.seconds, self.waits = work, seconds, waits
        self.context = contextvars.copy_context()
        self.worker: threading.Thread | None = None  # who serves it; None while it waits
        self.deadline = float("inf")
        self.settled = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None

    def settle(self, value: Any, error: Exception | None) -> bool:
        """Decide what came of it, with the desk's lock held; False where that had been decided before."""
        if self.settled.is_set():
            return False
        self.value, self.error = value, error
        self.settled.set()
        return True

    def serve(self) -> tuple[Any, Exception | None]:
        """Do the work in this thread: its value, or its error."""
        _serving.errand = self
        try:
            checkpoint()
            with _Checkpoints():
                return self.context.run(self.work), None
        except Exception as error:  # whatever it is, it belongs to the one who waits
            return None, error
        finally:
            _serving.errand = None


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


class _Checkpoints(TorchFunctionMode):
    """While it is entered, every torch function that this thread calls asks `checkpoint()` first; no other thread's."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        checkpoint()
        return func(*args, **(kwargs or {}))


def too_long(seconds: float) -> str:
    return (
        f"This took longer than the {seconds:g} seconds that a request may take and was stopped; use fewer words or a "
        "smaller photo, or try again when the server is less busy."
    )


class Desk:
    """`threads` that serve one errand each, in the order of their arrival."""

    def __init__(self, name: str, threads: int = 1, seconds: float = REQUEST_SECONDS, grace: float = GRACE) -> None:
        self.seconds = seconds
        self._name, self._threads, self._grace = name, threads, grace
        self._waiting: deque[Errand] = deque()
        self._workers: list[threading.Thread] = []
        self._left_behind: list[threading.Thread] = []
        self._lock = threading.Condition()
        with self._lock:
            self._staff()

    @property
    def hung(self) -> int:
        """How many requests were left behind and still run."""
        return sum(thread.is_alive() for thread in self._left_behind)

    def run(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """What `work()` returns or raises; it may run for `seconds`, by default the desk's own limit.

        It waits for its turn at most as long as the requests before it may take. Work of this desk or another that
        calls `run` is part of its request: it runs at once, within the limit of that request.
        Raises `TookTooLong`, `VisitorLeft` and `WorkerDied`.
        """
        if getattr(_serving, "errand", None) is not None:
            return work()  # part of a request that is being served
        errand = Errand(work, self.seconds if seconds is None else seconds, visitor_waits())
        with self._lock:
            if self.hung >= MAX_HUNG:
                raise TookTooLong("The model no longer answers; whoever runs this server has to start it again.")
            before = len(self._waiting) + self._threads
            begin_by = time.monotonic() + (before + 1) * (max(self.seconds, errand.seconds) + self._grace)
            self._waiting.append(errand)
            self._staff()
            self._lock.notify()
        while not errand.settled.wait(min(LOOK_SECONDS, self._grace)):
            with self._lock:
                self._look_after(errand, begin_by)
        try:
            if errand.error is not None:
                raise errand.error
            value: T = errand.value
            return value
        finally:
            del errand  # an error holds this frame, which must not hold the error

    def _look_after(self, errand: Errand, begin_by: float) -> None:
        """Settle an errand that can't be waited for any longer, and replace workers that are gone."""
        self._staff()
        now = time.monotonic()
        if errand.worker is None:
            if not errand.waits():
                self._withdraw(errand, VisitorLeft("The visitor left before the result was there."))
            elif now > begin_by:
                self._withdraw(errand, TookTooLong("The server was too busy to begin with this; try again later."))
        elif not errand.worker.is_alive():
            died = WorkerDied("The server stopped working on this request before it was done; try it again.")
            if errand.settle(None, died):
                _LOG.error("A thread of the desk %s ended in the middle of a request.", self._name)
        elif now > errand.deadline + self._grace and errand.settle(None, TookTooLong(too_long(errand.seconds))):
            self._workers.remove(errand.worker)
            self._left_behind = [thread for thread in (*self._left_behind, errand.worker) if thread.is_alive()]
            _LOG.error("A request hangs for %.0f s; its thread is left behind (%d so far).", errand.seconds, self.hung)
            self._staff()

    def _withdraw(self, errand: Errand, reason: Exception) -> None:
        self._waiting.remove(errand)
        errand.settle(None, reason)

    def _staff(self) -> None:
        """As many living workers as the desk has threads, whatever ended the others; called with the lock held."""
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        while len(self._workers) < self._threads:
            worker = threading.Thread(target=self._serve, name=self._name, daemon=True)
            try:
                worker.start()
            except RuntimeError as error:  # the system has no thread to give: the next look tries again
                _LOG.error("No thread could be started for the desk %s: %s", self._name, error)
                return
            self._workers.append(worker)

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    self._lock.wait()
                errand = self._waiting.popleft()
                errand.worker = threading.current_thread()
                errand.deadline = time.monotonic() + errand.seconds
            value, error = errand.serve()
            with self._lock:
                in_time = errand.settle(value, error)
            del errand, value, error  # a photo is not held until the next one comes
            if not in_time:
                return  # it was left behind, and another thread has its place
