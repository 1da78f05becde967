"""Wall-clock timing on any device."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def synchronise(device: torch.device) -> None:
    """Waits for pending GPU work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def timed(device: torch.device) -> Iterator[list[float]]:
    """Yields a list that receives the wall-clock seconds of the block, including pending GPU work."""
    spent: list[float] = []
    synchronise(device)
    started = time.perf_counter()
    yield spent
    synchronise(device)
    spent.append(time.perf_counter() - started)
