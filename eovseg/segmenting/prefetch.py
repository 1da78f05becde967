"""Ordered prefetching with a few threads in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def prefetch(
    items: Iterable[Item], make: Callable[[Item], Value], workers: int, max_pending: int
) -> Generator[tuple[Item, Callable[[], Value]], None, None]:
    """Yields each item in order with a function that returns `make(item)` or raises its exception.

    `workers` threads compute values in advance, of which at most `max_pending` are waiting, and `items` is read no
    further ahead. With 0 workers, `make` is called on demand.
    """
    if not workers:
        for item in items:
            yield item, lambda item=item: make(item)  # type: ignore[misc]
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="photo")
    waiting: deque[tuple[Item, Future[Value]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(make, item)))
            if len(waiting) >= max_pending:
                done, future = waiting.popleft()
                yield done, future.result
                del future  # release its value before waiting for the next one
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result
            del future
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
