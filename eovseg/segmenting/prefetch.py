"""Work that is done ahead of its turn by a few threads, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def ahead(
    items: Iterable[Item], make: Callable[[Item], Value], workers: int, most: int
) -> Generator[tuple[Item, Callable[[], Value]], None, None]:
    """Each item in order with a function that returns `make(item)` or raises what it raised.

    `workers` threads run ahead; at most `most` values exist that have not been yielded yet, and `items` is read no
    further than that. With 0 workers `make` runs when its value is asked for.
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
            if len(waiting) >= most:
                done, future = waiting.popleft()
                yield done, future.result
                del future  # or its value would live as long as the next one takes
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result
            del future
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
