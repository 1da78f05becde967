"""Training recipes, and weight files: ours (.safetensors), the authors' (.pth) and training checkpoints (.pt)."""

import functools
import io
import json
from pathlib import Path

import torch
from safetensors.torch import save

from eovseg.checkpoints import FORMAT
from eovseg.model.config import variant_config
from eovseg.training.command import _recipe
from eovseg.training.config import recipe
from eovseg.training.starting import read_weights
from tests.fuzz.harness import Reader
from tests.fuzz.json_mutations import dumped, mutated_json
from tests.fuzz.mutations import mutated

_VALUES = (
    b"null", b"[]", b"{}", b'""', b"-1", b"0", b"1.5", b"1e999", b"9" * 25, b"[" * 2000, b'"steps": 1,', b'"loss": {},',
)  # fmt: skip


_HEADER = {"config": variant_config("xs").to_dict(), "complete": False, "training_words": ["dog", "sky"]}
_RECIPES = [json.loads(recipe(variant).to_json()) for variant in ("xs", "l")]


def _ours(header: object) -> bytes:
    tensors = {"void_embedding.weight": torch.zeros(1, 4), "vas.guide.weight": torch.ones(2, 3).half()}
    return save(tensors, {"format": FORMAT, "header": json.dumps(header)})


def _checkpoint(config: object, **parts: object) -> bytes:
    weights = {"void_embedding.weight": torch.zeros(1, 4)}
    state = {"model": weights, "optimizer": {}, "step": 7, "rng": {}, "ema": None}
    return _saved({**state, "model_config": json.dumps(config), **parts})


@functools.cache
def _safetensors() -> tuple[bytes, ...]:
    return _ours(_HEADER), save({"a": torch.zeros(2)}, {"format": "pt"}), save({"a": torch.zeros(2)})


@functools.cache
def _checkpoints() -> tuple[bytes, ...]:
    official = {"model": {"void_embedding.weight": torch.zeros(1, 768)}}
    return _saved(official), _saved(official["model"]), _checkpoint(_HEADER["config"])


def _saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def safetensors(seed: int) -> bytes:
    return _ours(mutated_json([_HEADER], seed)) if seed % 2 else mutated(_safetensors(), seed, _VALUES)


def checkpoints(seed: int) -> bytes:
    if seed % 3 == 0:
        return _checkpoint(mutated_json([_HEADER["config"]], seed))
    if seed % 3 == 1:
        parts = {"model": {"a": 1}, "ema": {}, "model_config": None, "step": "x"}
        return _checkpoint({}, **dict([list(parts.items())[seed // 3 % 4]]))
    return mutated(_checkpoints(), seed, (*_VALUES, b"cos\nsystem\n", b"PK\x03\x04", b"\x80\x02", b"."))


def recipes(seed: int) -> bytes:
    if seed % 2:
        return dumped(mutated_json(_RECIPES, seed), seed)
    return mutated([json.dumps(_RECIPES[0]).encode(), b'{"steps": 5}'], seed, _VALUES)


def read_recipe(path: Path) -> object:
    return _recipe(None, path)


READERS = [
    Reader("weights .safetensors", safetensors, read_weights, ".safetensors"),
    Reader("weights .pth", checkpoints, read_weights, ".pth"),
    Reader("recipe JSON", recipes, read_recipe, ".json"),
]
