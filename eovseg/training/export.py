"""`python -m eovseg.training.export`: a training checkpoint becomes the file that ships, with its settings inside."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from eovseg.checkpoints import save_checkpoint
from eovseg.data.batches import xs_batches
from eovseg.errors import CheckpointError, ConfigError, EovsegError
from eovseg.model.config import ModelConfig
from eovseg.training import checkpointing

JOINT = "feature_extractor.joint_space."


def export(
    checkpoint: Path,
    output: Path,
    training_words: list[str],
    joint_space: Path | None = None,
    changes: dict[str, Any] | None = None,
    averaged: bool = True,
) -> ModelConfig:
    """Write the weights of `checkpoint` in half precision, `joint_space` in the place of its own where given.

    `changes` are settings measured after training (thresholds, alpha, beta, sizes). Returns the configuration stored.
    """
    state = checkpointing.load(checkpoint)
    weights: dict[str, Tensor] = state["ema"] if averaged and state.get("ema") is not None else state["model"]
    config = ModelConfig.from_dict(json.loads(state["model_config"])).with_changes(**(changes or {}))
    if joint_space is not None:
        try:
            joint = load_file(joint_space)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"The joint space {joint_space} cannot be read ({error}).") from error
        weights = {name: value for name, value in weights.items() if not name.startswith(JOINT)}
        weights |= {JOINT + name: value for name, value in joint.items()}
    save_checkpoint(output, config, weights, complete=False, training_words=training_words, half=True)
    return config


def words_of_training(data: Path) -> list[str]:
    """Every name that XS's sources train with, synonyms included: what counts as seen."""
    return sorted({name for word_class in xs_batches(data).classes.classes for name in word_class.names})


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--set {text} is not NAME=VALUE with a JSON value, as in alpha=0.4.") from error


def main() -> int:
    """Entry of the command."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.training.export", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder of XS's sources: their names become 'seen'"
    )
    parser.add_argument("--joint-space", type=Path)
    parser.add_argument("--last", action="store_true", help="the last weights instead of their moving average")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as JSON")
    options = parser.parse_args()
    try:
        changes = dict(map(_setting, options.set))
        words = words_of_training(options.data)
        export(options.checkpoint, options.output, words, options.joint_space, changes, not options.last)
    except EovsegError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
