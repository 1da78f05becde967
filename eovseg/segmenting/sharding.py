"""Which part of a run this process does: `--shard I/N`, the processes of a launcher, or both."""

import os
from argparse import ArgumentTypeError
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eovseg.segmenting.folder import Tally

# A process that has finished its photos waits for the others, or the launcher would stop them when one photo failed.
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 0) of `count` parts of the photos."""

    number: int = 0
    count: int = 1
    rank: int = 0  # of this process among those of its launcher

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Of "I/N", I from 1 to N; raises `ArgumentTypeError`."""
        first, slash, second = text.partition("/")
        if not (slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
            raise ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, such as 2/4")
        return cls(int(first) - 1, int(second))

    def in_launcher(self) -> "Shard":
        """This part divided among the processes that torchrun or `accelerate launch` has started."""
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        rank = int(os.environ.get("RANK", "0"))
        return Shard(self.number * processes + rank, self.count * processes, rank)

    @property
    def index_name(self) -> str:
        """File name of this part's index."""
        return "index.jsonl" if self.count == 1 else f"index-{self.number + 1}-of-{self.count}.jsonl"


def over_all(tally: "Tally") -> "Tally":
    """The tallies of all processes of the launcher, summed; each waits here for the others."""
    import torch

    from eovseg import distributed

    counts = torch.tensor([tally.segmented, tally.skipped, tally.failed])
    return type(tally)(*distributed.total(counts).tolist())


def join_launcher() -> None:
    """Join the group of a launcher, if there is one, for sums only: no photo travels."""
    from eovseg import distributed

    distributed.start("cpu", _PATIENCE)


def own_device(device: str) -> str:
    """The accelerator of this process's number on its machine, where "auto" or "cuda" leaves the choice."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    if local is None or device not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{int(local) % torch.cuda.device_count()}"
