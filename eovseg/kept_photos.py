"""The image halves of the last photos: as many as a number and an amount of memory allow, the latest in any case."""

from collections import OrderedDict
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

State = TypeVar("State")


class KeptPhotos(Generic[State]):
    """States by key, the least recently used given up first. Not safe between threads by itself."""

    def __init__(self, count: int, size: int) -> None:
        """At most `count` states of at most `size` bytes together; one state may be larger."""
        self.count = count
        self.size = size
        self._states: OrderedDict[bytes, State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def keys(self) -> list[bytes]:
        """Keys of what is kept, the latest last."""
        return list(self._states)

    @property
    def held(self) -> int:
        """Bytes of the states."""
        return sum(held_bytes(state) for state in self._states.values())

    def get(self, key: bytes) -> State | None:
        """The state, now the latest; None where it is not kept."""
        if key in self._states:
            self._states.move_to_end(key)
        return self._states.get(key)

    def put(self, key: bytes, state: State) -> None:
        """Keep a state as the latest and give up what no longer fits."""
        self._states[key] = state
        self._states.move_to_end(key)
        while len(self._states) > 1 and (len(self._states) > self.count or self.held > self.size):
            self._states.popitem(last=False)

    def clear(self) -> None:
        """Give up all."""
        self._states.clear()


def held_bytes(value: Any) -> int:
    """Bytes of the arrays and tensors in a dataclass or tuple, however deep; what a tensor is a view of counts whole,
    and memory that two of them share counts once."""
    held: dict[int, int] = {}
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, torch.Tensor):
            storage = found.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
        elif isinstance(found, np.ndarray):
            held[found.ctypes.data] = found.nbytes
        elif isinstance(found, tuple):
            waiting.extend(found)
        elif is_dataclass(found):
            waiting.extend(getattr(found, entry.name) for entry in fields(found))
    return sum(held.values())
