"""Thread pools that serve visitors' requests with a time limit and cancel them when the visitor leaves.

A single thread runs the model, so that its memory is allocated once and its worker threads are reused. Python threads
cannot be killed, so cancellation is cooperative: every torch function that such a thread calls first calls
`checkpoint()`. Work that never reaches a checkpoint is abandoned after a grace period and a new thread replaces its
thread, so that one hung request does not block the others.

The outcome of a job is set exactly once, by `Job.settle` while the pool's lock is held: by the worker when the work
ends, or by the caller, which checks every quarter of a second whether the time limit has passed, the worker has died,
or the visitor left before the work began.
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
GRACE = 5.0  # seconds beyond the limit after which work that reaches no checkpoint is abandoned
CHECK_SECONDS = 0.25  # how often a caller checks its request
MAX_HUNG = 3  # a pool with this many abandoned requests still running refuses new ones
T = TypeVar("T")


class RequestTimeout(EovsegError):
    """The time limit of a request has passed."""


class VisitorLeft(EovsegError):
    """The client no longer waits for the result."""


class WorkerDied(EovsegError):
    """The thread that served a request ended before the request was done."""


class Job:
    """The work of one request, its time limit in seconds, and whether a client still waits for it.

    The lock of its pool guards `worker`, `deadline` (on the clock of `time.monotonic`) and what `settle` sets.
    """

    def __init__(self, work: Callable[[], Any], seconds: float, waits: Callable[[], bool]) -> None:
        self.work, self.seconds, self.waits = work, seconds, waits
        self.context = contextvars.copy_context()
        self.worker: threading.Thread | None = None  # the thread that serves it; None while it is queued
        self.deadline = float("inf")
        self.settled = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None

    def settle(self, value: Any, error: Exception | None) -> bool:
        """Sets the outcome, with the pool's lock held; returns False if it was already set."""
        if self.settled.is_set():
            return False
        self.value, self.error = value, error
        self.settled.set()
        return True

    def serve(self) -> tuple[Any, Exception | None]:
        """Does the work in this thread and returns its value or its error."""
        _serving.job = self
        try:
            checkpoint()
            with _Checkpoints():
                return self.context.run(self.work), None
        except Exception as error:  # any error is raised again in the caller
            return None, error
        finally:
            _serving.job = None


_serving = threading.local()


def checkpoint(*_: Any) -> None:
    """Cancels the request that this thread serves if its time is up or its visitor has left; otherwise a no-op.

    Raises `RequestTimeout` or `VisitorLeft`.
    """
    job: Job | None = getattr(_serving, "job", None)
    if job is None:
        return
    if time.monotonic() > job.deadline:
        raise RequestTimeout(timeout_message(job.seconds))
    if not job.waits():
        raise VisitorLeft("The visitor left before the result was ready.")


class _Checkpoints(TorchFunctionMode):
    """While active, every torch function that this thread calls first calls `checkpoint()`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        checkpoint()
        return func(*args, **(kwargs or {}))


def timeout_message(seconds: float) -> str:
    return (
        f"This request was stopped because it took longer than the limit of {seconds:g} seconds; use fewer words or a "
        "smaller photo, or try again when the server is less busy."
    )


class WorkerPool:
    """A pool of `threads` that each serve one request at a time, in the order of arrival."""

    def __init__(self, name: str, threads: int = 1, seconds: float = REQUEST_SECONDS, grace: float = GRACE) -> None:
        self.seconds = seconds
        self._name, self._threads, self._grace = name, threads, grace
        self._waiting: deque[Job] = deque()
        self._workers: list[threading.Thread] = []
        self._abandoned: list[threading.Thread] = []
        self._lock = threading.Condition()
        with self._lock:
            self._start_workers()

    @property
    def hung(self) -> int:
        """How many abandoned requests are still running."""
        return sum(thread.is_alive() for thread in self._abandoned)

    def run(self, work: Callable[[], T], seconds: float | None = None) -> T:
        """Returns the value of `work()` or raises its error; it may run for `seconds`, by default the pool's limit.

        Its time in the queue is limited by the time limits of the requests before it. A nested call of `run`, by work
        on this pool or another, runs immediately and within the limit of the outer request. Raises `RequestTimeout`,
        `VisitorLeft` or `WorkerDied`.
        """
        if getattr(_serving, "job", None) is not None:
            return work()  # nested call
        job = Job(work, self.seconds if seconds is None else seconds, visitor_waits())
        with self._lock:
            if self.hung >= MAX_HUNG:
                raise RequestTimeout("The model no longer responds; the operator has to restart this server.")
            before = len(self._waiting) + self._threads
            begin_by = time.monotonic() + (before + 1) * (max(self.seconds, job.seconds) + self._grace)
            self._waiting.append(job)
            self._start_workers()
            self._lock.notify()
        while not job.settled.wait(min(CHECK_SECONDS, self._grace)):
            with self._lock:
                self._check(job, begin_by)
        try:
            if job.error is not None:
                raise job.error
            value: T = job.value
            return value
        finally:
            del job  # breaks the reference cycle between an error and this frame

    def _check(self, job: Job, begin_by: float) -> None:
        """Settles a request that cannot succeed any more, and replaces dead workers."""
        self._start_workers()
        now = time.monotonic()
        if job.worker is None:
            if not job.waits():
                self._withdraw(job, VisitorLeft("The visitor left before the result was ready."))
            elif now > begin_by:
                self._withdraw(job, RequestTimeout("The server was too busy to start this request; try again later."))
        elif not job.worker.is_alive():
            died = WorkerDied("The server stopped before this request was done; try again.")
            if job.settle(None, died):
                _LOG.error("A thread of the pool %s died during a request.", self._name)
        elif now > job.deadline + self._grace and job.settle(None, RequestTimeout(timeout_message(job.seconds))):
            self._workers.remove(job.worker)
            self._abandoned = [thread for thread in (*self._abandoned, job.worker) if thread.is_alive()]
            _LOG.error("A request hung for %.0f s; its thread was abandoned (%d so far).", job.seconds, self.hung)
            self._start_workers()

    def _withdraw(self, job: Job, reason: Exception) -> None:
        self._waiting.remove(job)
        job.settle(None, reason)

    def _start_workers(self) -> None:
        """Replaces workers that have died; called with the lock held."""
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        while len(self._workers) < self._threads:
            worker = threading.Thread(target=self._serve, name=self._name, daemon=True)
            try:
                worker.start()
            except RuntimeError as error:  # out of threads: the next check tries again
                _LOG.error("No thread could be started for the pool %s: %s", self._name, error)
                return
            self._workers.append(worker)

    def _serve(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    self._lock.wait()
                job = self._waiting.popleft()
                job.worker = threading.current_thread()
                job.deadline = time.monotonic() + job.seconds
            value, error = job.serve()
            with self._lock:
                in_time = job.settle(value, error)
            del job, value, error  # so that no photo is kept in memory until the next request
            if not in_time:
                return  # this thread was abandoned and has been replaced
