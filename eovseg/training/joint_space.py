"""`python -m eovseg.training.joint_space`: learn XS's joint space (`eovseg.model.joint_space`) and measure it."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eovseg.errors import ConfigError, run_command


@dataclass(frozen=True)
class JointSpaceConfig:
    """How the joint space is learned; raises `ConfigError` where a value is not allowed.

    `distillation` weighs the classifier's part of the loss; `conse_weight` is ConSE's share in the sum, 0 = none;
    `balance` in [0, 1]: 0 draws regions as they come, 1 draws every class equally often; `fewest_words` in (0, 1]: a
    step lets a random share of the words compete, between this and all of them.
    """

    steps: int = 900
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    distillation: float = 2.0
    conse_weight: float = 0.5
    balance: float = 0.5
    synonym_chance: float = 0.5
    fewest_words: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}={getattr(self, name)} is not allowed; it must be above 0.")
        if not 0 < self.fewest_words <= 1:
            raise ConfigError(f"fewest_words={self.fewest_words} is not allowed; it must be in (0, 1].")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    defaults = JointSpaceConfig()
    parser = argparse.ArgumentParser(prog="python -m eovseg.training.joint_space", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of XS's sources, with unlabelled/")
    parser.add_argument("--output", type=Path, required=True, help="weight file; report .json and log .jsonl beside it")
    parser.add_argument("--cache", type=Path, help="folder that keeps the extracted features")
    parser.add_argument("--held-out", type=int, default=0, help="also train without so many classes and measure them")
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
        with given.output.with_suffix(".jsonl").open("w", encoding="utf-8") as log_file:

            def log(record: dict[str, float]) -> None:
                log_file.write(json.dumps(record) + "\n")
                log_file.flush()

            run(given.data, given.output, given.cache, config, given.held_out, log)

    return run_command(parser, train, arguments)


if __name__ == "__main__":
    sys.exit(main())
