"""The folded image half compiled by torch, once for each photo size; for long runs over photos of few sizes."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from eovseg.errors import ConfigError
from eovseg.fast.folded import FoldedImageHalf
from eovseg.fast.halves import features_of
from eovseg.fast.network import FastEOVSeg
from eovseg.fast.values import PreparedFeatures

_OPTIONS: dict[str, Any] = {}  # further arguments of torch.compile, set by tests
CACHED_SIZES = 8  # cached programs; padding photos further, to have fewer sizes, would change the results
# Texts by which torch reports a missing compiler; it raises the same exception types for all other compile errors.
_NO_COMPILER = ("InvalidCxxCompiler", "TritonMissing", "C++ compiler", "working triton installation")
_Program = Callable[[Tensor], tuple[Tensor, ...]]


class CompiledImageHalf:
    """Like `FoldedImageHalf`, but compiled at the first photo of each size. On GPUs, it is replayed as a CUDA graph.

    The first photo raises `ConfigError` if torch finds no compiler.
    """

    def __init__(self, network: FastEOVSeg) -> None:
        import torchvision.ops  # noqa: F401 (importing it during compilation would split the graph)

        self.folded = FoldedImageHalf(network)
        self._programs: OrderedDict[tuple[Any, ...], _Program] = OrderedDict()
        self._lock = threading.Lock()  # so that each size is compiled once and outputs are copied before the next run

    def __call__(self, images: Tensor, size: tuple[int, int]) -> PreparedFeatures:
        """Features of `images` (B, 3, H, W) whose first `size` rows and columns are the photo."""
        with self._lock:
            found = self._run(images)
        return features_of(self.folded.half.names, found, size, (images.shape[-2], images.shape[-1]))

    def _run(self, images: Tensor) -> tuple[Tensor, ...]:
        key = (*images.shape, images.dtype, torch.is_autocast_enabled(images.device.type))
        program = self._programs.pop(key, None) or _compiled(self.folded.run, images.device)
        self._programs[key] = program  # most recently used last
        while len(self._programs) > CACHED_SIZES:
            self._programs.popitem(last=False)
        try:
            found = program(images)
        except Exception as error:
            if not any(sign in f"{type(error).__name__} {error}" for sign in _NO_COMPILER):
                raise
            self._programs.clear()
            raise ConfigError(
                "The backend 'compile' found no compiler (C++, or Triton on GPUs); use backend 'torch'."
            ) from error
        # The next run of a CUDA graph overwrites its outputs.
        return tuple(value.clone() for value in found) if images.is_cuda else found


def _compiled(function: _Program, device: torch.device) -> _Program:
    mode = "reduce-overhead" if device.type == "cuda" else None

    def program(images: Tensor) -> tuple[Tensor, ...]:
        return function(images)

    # Every size gets its own code object, because torch stops compiling after eight programs for one code object.
    program = FunctionType(program.__code__.replace(), program.__globals__, "program", None, program.__closure__)
    compiled: _Program = torch.compile(program, dynamic=False, mode=mode, **_OPTIONS)
    return compiled
