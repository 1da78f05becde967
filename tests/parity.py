"""The recordings of the released implementation (fixtures/parity) and the recipe that regenerates its weights."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eovseg.official_names import sort_official_keys

FOLDER = Path(__file__).parent / "fixtures" / "parity"
_spec = importlib.util.spec_from_file_location("parity_recipe", FOLDER / "recipe.py")
assert _spec is not None and _spec.loader is not None
recipe = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(recipe)


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def tensors(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value) for key, value in arrays(name).items()}


def description(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def official_keys(variant: str) -> list[tuple[str, tuple[int, ...]]]:
    return [(entry["key"], tuple(entry["shape"])) for entry in description(f"keys_{variant}")["keys"]]


def fill(key: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    value = recipe.fill(key, shape, seed)
    if value is None:  # the loss buffer keeps its initial value
        return torch.ones(shape)
    return torch.from_numpy(np.asarray(value))


def official_state(variant: str, seed: int = 0) -> dict[str, Tensor]:
    return {key: fill(key, shape, seed) for key, shape in official_keys(variant)}


def load_module(module: nn.Module, prefix: str, keys: list[tuple[str, list[int]]]) -> None:
    """Loads the recipe's weights of the official `keys` into a module; `prefix` is its path in our network."""
    names = sort_official_keys(key for key, _ in keys).used
    state = {ours.removeprefix(prefix): fill(key, tuple(dict(keys)[key])) for key, ours in names.items()}
    module.load_state_dict(state, strict=True)


def assert_close(actual: Tensor, expected: Any, tolerance: float) -> None:
    """Largest difference relative to the recorded array's range."""
    expected = torch.as_tensor(expected)
    assert actual.shape == expected.shape, f"{tuple(actual.shape)}, expected {tuple(expected.shape)}"
    value_range = (expected.max() - expected.min()).item() or 1.0
    difference = (actual.detach().double() - expected.double()).abs().max().item() / value_range
    assert difference <= tolerance, f"differs by {difference:.2e} of the range, {tolerance:.0e} allowed"
