"""Training checkpoints: atomic, limited to the latest few, and sufficient to resume exactly."""

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eovseg.atomic_files import atomic_file
from eovseg.checkpoints import TRAINING_KEYS, names_tensors
from eovseg.errors import CheckpointError, ConfigError
from eovseg.model.config import ModelConfig

_NAME = re.compile(r"checkpoint_\d{7,}\.pt")


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Writes `state` to `checkpoint_<step>.pt` in `folder`, then deletes all but the latest `keep`.

    The write is atomic and synced, so a crash leaves the previous checkpoints intact.
    """
    path = folder / f"checkpoint_{step:07d}.pt"
    with atomic_file(path) as part, part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest step first."""
    return sorted((path for path in folder.glob("checkpoint_*.pt") if _NAME.fullmatch(path.name)), key=step_of)


def step_of(path: Path) -> int:
    """The step in the file name of a checkpoint."""
    return int(path.stem.rpartition("_")[2])


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running code from it; raises `CheckpointError` if that is not possible."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"The checkpoint {path} does not exist. Give a file in a run's --output.") from error
    except Exception as error:  # torch raises many kinds for truncated or other files
        raise CheckpointError(
            f"The file {path.name} is damaged or not a training checkpoint ({type(error).__name__})."
        ) from error
    if not isinstance(state, dict) or not state.keys() >= TRAINING_KEYS:
        raise CheckpointError(
            f"{path.name} is not a training checkpoint: it lacks model, optimizer, step or rng. Give the --output "
            "folder of a run or one of its checkpoint_*.pt; a weight file needs no export."
        )
    for weights in (state["model"], state.get("ema")):
        if weights is not None and not names_tensors(weights):
            raise CheckpointError(f"{path.name} is not a training checkpoint: its weights are not tensors.")
    return state


def model_config(path: Path, state: dict[str, Any]) -> ModelConfig:
    """The model configuration stored in a checkpoint; raises `CheckpointError` if it has none."""
    try:
        return ModelConfig.from_dict(json.loads(state["model_config"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ConfigError) as error:
        raise CheckpointError(
            f"{path.name} has no valid model configuration ({type(error).__name__}: {str(error)[:200]})."
        ) from error


def load_newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The latest readable checkpoint of `folder`, or None if it has no checkpoints.

    Damaged files are skipped; raises `CheckpointError` if none can be read.
    """
    paths = checkpoints(folder)
    for path in reversed(paths):
        try:
            return path, load(path)
        except CheckpointError:
            continue
    if paths:
        raise CheckpointError(f"None of the {len(paths)} checkpoints in {folder} can be read; choose another --output.")
    return None


def random_state() -> dict[str, Any]:
    """States of the global generators of Python, numpy and torch, in types that `weights_only` loading accepts."""
    python, numpy = random.getstate(), np.random.get_state(legacy=True)  # noqa: NPY002
    assert isinstance(numpy, tuple)
    return {
        "python": python,
        "numpy": (numpy[0], torch.from_numpy(numpy[1].astype(np.int64)), *numpy[2:]),
        "torch": torch.get_rng_state(),
        # Only the current device, because querying the others would allocate memory on them.
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Restores the states returned by `random_state`."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])


def averaged_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """The weights for inference: the moving average if there is one, else the last weights."""
    weights: dict[str, Tensor] = state["model"] if state.get("ema") is None else state["ema"]
    return weights
