"""Wall-clock timing on any device."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

Mark = tuple[nn.Module, Any]  # a module, and the name of the lap that ends or begins there


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


def repeated(work: Callable[[int], object], device: torch.device, runs: int, warm: int = 1) -> list[float]:
    """Seconds of each of `runs` calls of `work`, after `warm` untimed ones; its argument counts the calls from 0."""
    seconds: list[float] = []
    for number in range(warm + runs):
        with timed(device) as spent:
            work(number)
        seconds += spent
    return seconds[warm:]


class Clock:
    """Milliseconds between marks, by name; a lap lasts from the previous mark to this one, so no time is lost.

    Marks of other threads, which may run the same modules at the same time, are ignored.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._thread = threading.get_ident()
        self.laps: dict[Any, float] = {}
        self.start()

    def start(self) -> None:
        """Begins a lap."""
        synchronise(self._device)
        self._last = time.perf_counter()

    def lap(self, name: Any) -> None:
        """Ends a lap and begins the next; laps of the same name are summed."""
        if threading.get_ident() != self._thread:
            return
        synchronise(self._device)
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + 1000 * (now - self._last)
        self._last = now

    @contextmanager
    def marked(self, after: Iterable[Mark] = (), before: Iterable[Mark] = ()) -> Iterator[None]:
        """Within the block, a lap ends when a module of `after` returns or a module of `before` is called."""
        handles = [m.register_forward_hook(lambda *_, name=name: self.lap(name)) for m, name in after]
        handles += [m.register_forward_pre_hook(lambda *_, name=name: self.lap(name)) for m, name in before]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
