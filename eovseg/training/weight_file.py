"""`eovseg export`: converts a training checkpoint to a weight file, including its settings and words."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eovseg.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from eovseg.model.config import ModelConfig

JOINT = "feature_extractor.joint_space."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of an export."""
    parser.add_argument("checkpoint", type=Path, help="training checkpoint, or a run's folder for its latest one")
    parser.add_argument("output", type=Path, help=".safetensors file to write")
    parser.add_argument(
        "--towers", type=Path, help="S, M, L: official checkpoint from which to include the frozen encoders"
    )
    parser.add_argument("--joint-space", type=Path, help="XS: joint space that replaces that of the checkpoint")
    parser.add_argument("--last", action="store_true", help="export the last weights, not their moving average")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="model setting, as JSON")
    parser.add_argument("--data", type=Path, help="folder of XS's sources, for checkpoints without words")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Runs the export; raises subclasses of `EovsegError`."""
    from eovseg.training import checkpointing
    from eovseg.training.config import setting

    path = arguments.checkpoint
    if path.is_dir():
        found = checkpointing.checkpoints(path)
        if not found:
            raise CheckpointError(f"The folder {path} has no checkpoints; give the --output folder of a run.")
        path = found[-1]
    changes = dict(map(setting, arguments.set))
    config = export(
        path,
        arguments.output,
        words_of_xs(arguments.data) if arguments.data else None,
        arguments.joint_space,
        changes,
        not arguments.last,
        arguments.towers,
    )
    print(f"{arguments.output}: EOV-Seg {config.variant.upper()} of {path.name}")
    if config.calibration is not None and "calibration" not in changes:
        print(
            f"Its scores use the calibration {list(config.calibration)} of the weights from which the run started; to "
            f"calibrate them again, on a FOLDER with panoptic labels, run `eovseg evaluate FOLDER --tasks panoptic "
            f"--checkpoint {shlex.quote(str(arguments.output))} --out REPORT` and "
            "`python -m eovseg.evaluation.calibrate REPORT`."
        )


def export(
    checkpoint: Path,
    output: Path,
    training_words: Sequence[str] | None = None,
    joint_space: Path | None = None,
    changes: dict[str, Any] | None = None,
    averaged: bool = True,
    towers: Path | None = None,
) -> "ModelConfig":
    """Writes the weights of `checkpoint`, in half precision unless `towers` is given.

    `training_words` override those recorded by the run; `joint_space` replaces that of the checkpoint; `changes` are
    settings tuned after training (thresholds, alpha, beta, sizes); the frozen encoders of the official file `towers`
    are included. Returns the stored configuration. Raises `CheckpointError` and `ConfigError`.
    """
    from eovseg.checkpoints import read_checkpoint, save_checkpoint
    from eovseg.model.config import ModelConfig
    from eovseg.training import checkpointing
    from eovseg.training.config import TrainConfig

    state = checkpointing.load(checkpoint)
    weights: dict[str, Tensor] = checkpointing.averaged_weights(state) if averaged else state["model"]
    words = training_words or TrainConfig.from_json(state["train_config"]).words
    if not words:
        raise CheckpointError(f"{checkpoint.name} does not contain its training words; add --data.")
    config = checkpointing.model_config(checkpoint, state).with_changes(**(changes or {}))
    ModelConfig.from_dict(config.to_dict())  # raises for values of the wrong type
    if joint_space is not None:
        weights = _with_joint_space(weights, joint_space)
    if towers is not None:
        whole = read_checkpoint(towers, config.variant)
        if not whole.complete:
            raise CheckpointError(f"{towers.name} has no frozen encoders; give the authors' .pth or its conversion.")
        weights = whole.tensors | weights
    complete = towers is not None  # keep the precision of the authors' encoders
    save_checkpoint(output, config, weights, complete=complete, training_words=words, half=not complete)
    return config


def words_of_xs(data: Path) -> list[str]:
    """All names used by XS's sources, including synonyms; these count as seen."""
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
