"""Prefetching: in order, with bounded concurrency, raising errors at the right item."""

import threading

import pytest

from eovseg.segmenting.prefetch import prefetch


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_order_and_errors(workers: int) -> None:
    def make(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number * number

    made: list[object] = []
    for number, value in prefetch(range(10), make, workers, 4):
        try:
            made.append((number, value()))
        except ValueError as error:
            made.append(str(error))
    assert made == [(n, n * n) if n != 5 else "five" for n in range(10)]


def test_the_number_of_items_in_memory_is_bounded() -> None:
    read, handed, most = 0, 0, 0
    lock = threading.Lock()

    def items():
        nonlocal read, most
        for number in range(50):
            with lock:
                read += 1
                most = max(most, read - handed)
            yield number

    for _, value in prefetch(items(), lambda number: number, 3, 5):
        value()
        handed += 1
    assert read == 50 and most <= 6, "five are waiting and one is in use"


def test_stopping_early_ends_the_threads() -> None:
    for number, value in prefetch(range(1_000), lambda number: number, 2, 4):
        value()
        if number == 3:
            break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("photo")]
