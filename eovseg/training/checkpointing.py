"""Training checkpoints: written whole or not at all, the newest few kept, enough in them to continue exactly."""

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eovseg.checkpoints import names_tensors
from eovseg.errors import CheckpointError, ConfigError
from eovseg.model.config import ModelConfig
from eovseg.whole_files import whole_file

_NAME = re.compile(r"checkpoint_(\d{7,})\.pt")


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write `state` as `checkpoint_<step>.pt` in `folder`, then remove all but the newest `keep`.

    The file appears under its name only when it is complete and on the disk, so a crash leaves the older ones.
    """
    path = folder / f"checkpoint_{step:07d}.pt"
    with whole_file(path) as part, part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest step first."""
    found = [(int(match[1]), path) for path in folder.glob("checkpoint_*.pt") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def load(path: Path) -> dict[str, Any]:
    """Read one checkpoint without running code from it; raises `CheckpointError` where that cannot be done."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {path}; give a file that `--output` of a run holds.") from error
    except Exception as error:  # torch raises a dozen kinds for torn or foreign files
        raise CheckpointError(
            f"The checkpoint {path.name} is torn or not one of ours ({type(error).__name__})."
        ) from error
    if not isinstance(state, dict) or not {"model", "optimizer", "step", "rng"} <= state.keys():
        raise CheckpointError(f"The file {path.name} is not a training checkpoint (model, optimizer, step, rng).")
    for weights in (state["model"], state.get("ema")):
        if weights is not None and not names_tensors(weights):
            raise CheckpointError(f"The weights in {path.name} are not a table of tensors; it is not one of ours.")
    return state


def model_config(path: Path, state: dict[str, Any]) -> ModelConfig:
    """The network that a checkpoint belongs to; raises `CheckpointError` where it does not say so."""
    try:
        return ModelConfig.from_dict(json.loads(state["model_config"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ConfigError) as error:
        raise CheckpointError(
            f"{path.name} does not say which network it belongs to ({type(error).__name__}: {str(error)[:200]})."
        ) from error


def load_newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest readable checkpoint of `folder`, None where it has none at all.

    A torn file is passed over for the one before; raises `CheckpointError` when none can be read.
    """
    paths = checkpoints(folder)
    for path in reversed(paths):
        try:
            return path, load(path)
        except CheckpointError:
            continue
    if paths:
        raise CheckpointError(f"None of the {len(paths)} checkpoints in {folder} can be read; start without --resume.")
    return None


def random_state() -> dict[str, Any]:
    """States of Python's, numpy's and torch's global generators, in types that a safe load accepts."""
    python, numpy = random.getstate(), np.random.get_state(legacy=True)  # noqa: NPY002
    assert isinstance(numpy, tuple)
    return {
        "python": python,
        "numpy": (numpy[0], torch.from_numpy(numpy[1].astype(np.int64)), *numpy[2:]),
        "torch": torch.get_rng_state(),
        # This process's own device alone: asking the others would take memory on each of them.
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])


def averaged_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint that are meant for use: the moving average, or the last ones of a run without."""
    weights: dict[str, Tensor] = state["model"] if state.get("ema") is None else state["ema"]
    return weights
