"""Wall-clock times of work on any device."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU still has to do, so that the clock shows it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def timed(device: torch.device) -> Iterator[list[float]]:
    """Wall-clock seconds of the block, in a list once it has ended; a GPU's work is waited for."""
    spent: list[float] = []
    synchronise(device)
    started = time.perf_counter()
    yield spent
    synchronise(device)
    spent.append(time.perf_counter() - started)
