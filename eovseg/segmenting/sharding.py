"""The part of a run assigned to this process by `--shard I/N`, by a launcher, or by both."""

import os
from argparse import ArgumentTypeError
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eovseg.segmenting.folder import Tally

# Finished processes wait for the others: if one exits because of a failed photo, the launcher would stop the rest.
_TIMEOUT = timedelta(days=30)


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 0) of `count` parts."""

    number: int = 0
    count: int = 1
    rank: int = 0  # of this process among those of its launcher

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parses "I/N", I from 1 to N; raises `ArgumentTypeError`."""
        first, slash, second = text.partition("/")
        if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
            raise ArgumentTypeError(f"{text!r} is not of the form I/N with I from 1 to N, e.g. 2/4")
        return cls(int(first) - 1, int(second))

    def in_launcher(self) -> "Shard":
        """This part divided among the processes started by torchrun or `accelerate launch`.

        Raises the `ConfigError` of `eovseg.distributed.announced`.
        """
        if "WORLD_SIZE" not in os.environ:
            return self  # without the slow import of torch
        from eovseg import distributed

        processes, rank = distributed.announced()
        return Shard(self.number * processes + rank, self.count * processes, rank)

    @property
    def index_name(self) -> str:
        """File name of this part's index."""
        return "index.jsonl" if self.count == 1 else f"index-{self.number + 1}-of-{self.count}.jsonl"


def summed_counts(tally: "Tally") -> "Tally":
    """The sum of the tallies of all processes of the launcher; waits for all of them."""
    import torch

    from eovseg import distributed

    counts = torch.tensor([tally.segmented, tally.skipped, tally.failed])
    return type(tally)(*distributed.total(counts).tolist())


def join_launcher() -> None:
    """Joins the process group of a launcher, if any; used only for sums."""
    from eovseg import distributed

    distributed.start("cpu", _TIMEOUT)


def local_device(device: str) -> str:
    """For "auto" and "cuda", the GPU with this process's local rank; otherwise `device`."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    if local is None or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{int(local) % torch.cuda.device_count()}"
