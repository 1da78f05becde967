"""`python -m eovseg.training.joint_space`: train and evaluate XS's joint space (`eovseg.model.joint_space`)."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from eovseg.atomic_files import write_atomically
from eovseg.errors import ConfigError, run_command
from eovseg.model.config import JointMaps


@dataclass(frozen=True)
class JointSpaceConfig:
    """Training settings of the joint space; raises `ConfigError` for invalid values.

    `distillation` is the weight of the distillation loss; `conse_weight` is the weight of ConSE in the sum, 0 = none;
    `balance` in [0, 1]: 0 draws regions uniformly, 1 draws all classes equally often; `fewest_words` in (0, 1]: in each
    step, a random fraction of the words competes, between this and 1; `maps` is the network's `joint_maps`.
    """

    steps: int = 700
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.5
    distillation: float = 0.5
    conse_weight: float = 0.5
    balance: float = 0.5
    synonym_chance: float = 0.5
    fewest_words: float = 0.3
    seed: int = 0
    maps: JointMaps = "fine"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed; it must be positive.")
        if self.maps not in get_args(JointMaps):
            raise ConfigError(f"maps={self.maps} is not allowed; choose {' or '.join(get_args(JointMaps))}.")
        if not 0 < self.fewest_words <= 1:
            raise ConfigError(f"fewest_words={self.fewest_words} is not allowed; it must be in (0, 1].")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    defaults = JointSpaceConfig()
    parser = argparse.ArgumentParser(prog="python -m eovseg.training.joint_space", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of XS's sources, including unlabelled/")
    parser.add_argument(
        "--output", type=Path, required=True, help="weight file; also writes .json (report) and .jsonl (log)"
    )
    parser.add_argument("--also", type=Path, help="COCO panoptic folder whose things are used too (pseudo_labels)")
    parser.add_argument("--cache", type=Path, help="cache folder for extracted features")
    parser.add_argument("--held-out", type=int, default=0, help="also train without N classes and evaluate on them")
    parser.add_argument("--threads", type=int, help="CPU threads")
    for name, default in asdict(defaults).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)

    def train(given: argparse.Namespace) -> None:
        import torch

        from eovseg.training.joint_learning import run

        if given.threads:
            torch.set_num_threads(given.threads)
        config = JointSpaceConfig(**{name: getattr(given, name) for name in asdict(defaults)})
        given.output.parent.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []

        def log(record: dict[str, float]) -> None:  # an earlier log is kept until training starts
            lines.append(json.dumps(record) + "\n")
            write_atomically(given.output.with_suffix(".jsonl"), "".join(lines))

        run(given.data, given.output, given.cache, config, given.held_out, log, given.also)

    return run_command(parser, train, arguments)


if __name__ == "__main__":
    sys.exit(main())
