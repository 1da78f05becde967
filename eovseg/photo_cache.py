"""An LRU cache of encoded photos, limited in number and memory; the latest photo is always cached."""

from collections import OrderedDict
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch

State = TypeVar("State")


class PhotoCache(Generic[State]):
    """States by key; evicts the least recently used. Not thread-safe."""

    def __init__(self, count: int, size: int) -> None:
        """At most `count` states and `size` bytes in total; a single state may be larger."""
        self.count = count
        self.size = size
        self._states: OrderedDict[bytes, State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def keys(self) -> list[bytes]:
        """Keys of the cached states, latest last."""
        return list(self._states)

    @property
    def total_bytes(self) -> int:
        """Total bytes of the cached states."""
        return sum(bytes_of(state) for state in self._states.values())

    def get(self, key: bytes) -> State | None:
        """The cached state, which becomes the latest, or None."""
        if key in self._states:
            self._states.move_to_end(key)
        return self._states.get(key)

    def put(self, key: bytes, state: State) -> None:
        """Adds a state as the latest and evicts those that no longer fit."""
        self._states[key] = state
        self._states.move_to_end(key)
        while len(self._states) > 1 and (len(self._states) > self.count or self.total_bytes > self.size):
            self._states.popitem(last=False)

    def clear(self) -> None:
        """Evicts all states."""
        self._states.clear()


def bytes_of(value: Any) -> int:
    """Bytes of all arrays and tensors in a (nested) dataclass or tuple.

    A view counts with its entire storage; shared storage counts once.
    """
    sizes: dict[int, int] = {}
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, torch.Tensor):
            storage = found.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        elif isinstance(found, np.ndarray):
            sizes[found.ctypes.data] = found.nbytes
        elif isinstance(found, tuple):
            waiting.extend(found)
        elif is_dataclass(found):
            waiting.extend(getattr(found, entry.name) for entry in fields(found))
    return sum(sizes.values())
