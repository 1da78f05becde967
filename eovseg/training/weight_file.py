"""`eovseg export`: a training checkpoint becomes the weight file that is used, with its settings and words inside."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eovseg.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from eovseg.model.config import ModelConfig

JOINT = "feature_extractor.joint_space."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of an export."""
    parser.add_argument("checkpoint", type=Path, help="a training checkpoint, or a run's folder for its newest one")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    parser.add_argument(
        "--towers", type=Path, help="S, M, L: the official checkpoint whose frozen towers go in as well"
    )
    parser.add_argument("--joint-space", type=Path, help="XS: a joint space in the place of the checkpoint's own")
    parser.add_argument("--last", action="store_true", help="the last weights instead of their moving average")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a model setting, as JSON")
    parser.add_argument("--data", type=Path, help="for checkpoints without their words: the folder of XS's sources")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the file that the options describe; raises `EovsegError` subclasses."""
    from eovseg.training import checkpointing
    from eovseg.training.config import setting

    path = arguments.checkpoint
    if path.is_dir():
        found = checkpointing.checkpoints(path)
        if not found:
            raise CheckpointError(f"The folder {path} holds no checkpoint; give the --output of a run.")
        path = found[-1]
    config = export(
        path,
        arguments.output,
        words_of_xs(arguments.data) if arguments.data else None,
        arguments.joint_space,
        dict(map(setting, arguments.set)),
        not arguments.last,
        arguments.towers,
    )
    print(f"{arguments.output}: EOV-Seg {config.variant.upper()} of {path.name}")


def export(
    checkpoint: Path,
    output: Path,
    training_words: Sequence[str] | None = None,
    joint_space: Path | None = None,
    changes: dict[str, Any] | None = None,
    averaged: bool = True,
    towers: Path | None = None,
) -> "ModelConfig":
    """Write the weights of `checkpoint`, without towers in half precision; `joint_space` in the place of its own.

    `training_words` replace those that the run noted; `changes` are settings measured after training (thresholds,
    alpha, beta, sizes); the frozen parts of the official file `towers` make the new one complete. Returns the
    configuration stored. Raises `CheckpointError` and `ConfigError`.
    """
    from eovseg.checkpoints import read_checkpoint, save_checkpoint
    from eovseg.training import checkpointing
    from eovseg.training.config import TrainConfig

    state = checkpointing.load(checkpoint)
    weights: dict[str, Tensor] = checkpointing.averaged_weights(state) if averaged else state["model"]
    words = training_words or TrainConfig.from_json(state["train_config"]).words
    if not words:
        raise CheckpointError(f"{checkpoint.name} does not say which words it was trained with; add --data.")
    config = checkpointing.model_config(checkpoint, state).with_changes(**(changes or {}))
    if joint_space is not None:
        weights = _with_joint_space(weights, joint_space)
    if towers is not None:
        whole = read_checkpoint(towers, config.variant)
        if not whole.complete:
            raise CheckpointError(f"{towers.name} holds no frozen towers; give the authors' .pth or its conversion.")
        weights = whole.tensors | weights
    complete = towers is not None  # the authors' towers keep their precision
    save_checkpoint(output, config, weights, complete=complete, training_words=words, half=not complete)
    return config


def words_of_xs(data: Path) -> list[str]:
    """Every name that XS's sources train with, synonyms included: what counts as seen."""
    from eovseg.data.batches import xs_batches

    return sorted({name for word_class in xs_batches(data).classes.classes for name in word_class.names})


def _with_joint_space(weights: "dict[str, Tensor]", joint_space: Path) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        joint = load_file(joint_space)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"The joint space {joint_space} cannot be read ({error}).") from error
    kept = {name: value for name, value in weights.items() if not name.startswith(JOINT)}
    return kept | {JOINT + name: value for name, value in joint.items()}
