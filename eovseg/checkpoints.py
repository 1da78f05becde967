"""Weight files: the authors' detectron2 checkpoints, our safetensors files with a config header, and downloads.

Files cannot run code: they are read with `weights_only` or as safetensors.
"""

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eovseg.assets import asset_path
from eovseg.atomic_files import atomic_file, write_atomically
from eovseg.embeddings import default_cache_directory
from eovseg.errors import CheckpointError, ConfigError
from eovseg.model.config import ModelConfig, variant_config
from eovseg.model.network import EOVSeg
from eovseg.official_names import sort_official_keys

FORMAT = "eovseg-1"
TRAINING_KEYS = frozenset({"model", "optimizer", "step", "rng"})  # the keys of a training checkpoint
_TORCH_STARTS = (b"PK", b"\x80")  # first bytes of a `torch.save` file: a zip file, formerly a pickle

# File ids on the authors' Google Drive, from their README (December 2024).
_DRIVE_IDS = {
    "s": "1UgLrRxpi4l30F8zTqhEv7cEW23TCGv3h",
    "m": "1--SYgaWs8_Ry2ouXBJO8FfSWH7D-Pejk",
    "l": "1dVfHpzmCOlV6hLfUpd3nHXz62wdB7RY2",
}


@dataclass
class Checkpoint:
    """Weights under our names with their model configuration; `complete` if the frozen encoders are included."""

    config: ModelConfig
    tensors: dict[str, Tensor]
    complete: bool
    training_words: tuple[str, ...] | None = None
    digest: str = ""


def read_checkpoint(path: str | Path, variant: str | None = None) -> Checkpoint:
    """Reads an official `.pth` or one of our safetensors files.

    An official file does not name its variant, which is inferred from the width of its text embedding. If `variant` is
    given, the file must match it. Raises `CheckpointError` if the file is missing, truncated, unsafe, not an EOV-Seg
    checkpoint, or of another variant.
    """
    path = Path(path)
    if path.is_dir() and any(path.glob("checkpoint_*.pt")):
        raise CheckpointError(f"{path} is the folder of a training run; {_export_first(path)}")
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"The checkpoint {path} {what}. Give the path of a .pth or .safetensors file.")
    with path.open("rb") as file:
        start = file.read(9)
    safetensors = start[8:] == b"{"
    if not safetensors and not start.startswith(_TORCH_STARTS):
        raise CheckpointError(
            f"{path.name} is {'not a checkpoint' if start else 'empty'}. Give an official .pth or a .safetensors file "
            "written by `eovseg convert` or `eovseg export`."
        )
    digest = file_digest(path)
    checkpoint = _read_safetensors(path) if safetensors else _read_official(path)
    checkpoint.digest = digest
    if variant is not None and checkpoint.config.variant != variant.lower():
        raise CheckpointError(
            f"{path.name} contains EOV-Seg {checkpoint.config.variant.upper()}, not {variant.upper()}. "
            f"{use_variant(checkpoint.config.variant)}."
        )
    return checkpoint


def use_variant(variant: str) -> str:
    """Advice if the weights belong to a different variant from the one given, on the command line and in Python."""
    return f'Use --variant {variant} (in Python, variant="{variant}")'


def _export_first(path: Path) -> str:
    return f"convert it first: `eovseg export {shlex.quote(str(path))} out.safetensors`."


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is damaged or truncated ({error}). Copy or download it again.") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path.name} is not an EOV-Seg safetensors file. Convert an EOV-Seg checkpoint with `eovseg convert`."
        )
    try:
        header: dict[str, Any] = json.loads(metadata["header"])
        config, complete, words = ModelConfig.from_dict(header["config"]), bool(header["complete"]), None
        if header.get("training_words") is not None:
            words = tuple(map(str, header["training_words"]))
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{path.name} has a header that this version cannot read ({type(error).__name__}: {error}). "
            "Convert the checkpoint again."
        ) from error
    return Checkpoint(config, tensors, complete, words)


def _read_official(path: Path) -> Checkpoint:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=None)
    except Exception as error:  # torch raises pickle, zip, runtime and end-of-file errors for broken or unsafe files
        raise CheckpointError(
            f"{path.name} cannot be read: it is damaged, or contains objects other than tensors, which are not loaded "
            "for security reasons. Give an official .pth or a file written by `eovseg convert`."
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not names_tensors(state):
        raise CheckpointError(f"{path.name} has no tensors under the key 'model'; it is not an EOV-Seg checkpoint.")
    if content.keys() >= TRAINING_KEYS:
        raise CheckpointError(f"{path.name} is a training checkpoint; {_export_first(path)}")
    config = _recognise(path, state)
    keys = sort_official_keys(state, config.spatial_block)
    if keys.unknown:
        raise CheckpointError(
            f"{path.name} has {len(keys.unknown)} unexpected tensors, the first being {keys.unknown[0]}; "
            "it is not an EOV-Seg checkpoint."
        )
    tensors = {ours: state[theirs] for theirs, ours in keys.used.items()}
    prefix = "spatial_extractor.vit."
    for name in ("cls_token", "pos_embed"):
        tensor = tensors.get(prefix + name)
        if tensor is not None and tensor.shape[-1:] == (config.spatial_dim,):  # otherwise `load_into` reports it
            tensors[prefix + name] = tensor.reshape(1, -1, config.spatial_dim)
    return Checkpoint(config, tensors, complete=True)


def names_tensors(state: object) -> bool:
    """Whether `state` maps names to tensors."""
    return isinstance(state, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    )


def _recognise(path: Path, state: Mapping[str, Tensor]) -> ModelConfig:
    void = state.get("void_embedding.weight")
    for variant in ("s", "m", "l"):
        config = variant_config(variant)
        if void is not None and void.shape == (1, config.embed_dim):
            return config
    raise CheckpointError(f"{path.name} has no void embedding of EOV-Seg S, M or L; it belongs to another model.")


def load_into(network: EOVSeg, checkpoint: Checkpoint, name: str = "the checkpoint") -> None:
    """Strict loading; raises `CheckpointError` naming the first missing, unexpected or wrongly shaped tensor."""
    check(network, checkpoint, name)
    network.load_state_dict(checkpoint.tensors, strict=False)


def check(network: EOVSeg, checkpoint: Checkpoint, name: str) -> None:
    """Raises `CheckpointError` unless the tensors match those of `network`, which may be on the meta device."""
    expected = network.state_dict() if checkpoint.complete else network.trained_state_dict()
    problems = (
        ("lacks", sorted(expected.keys() - checkpoint.tensors.keys())),
        ("has unexpected", sorted(checkpoint.tensors.keys() - expected.keys())),
        ("has misshapen", [k for k, v in checkpoint.tensors.items() if k in expected and expected[k].shape != v.shape]),
    )
    for what, names in problems:
        if names:
            raise CheckpointError(f"{name} {what} {len(names)} tensors, first {names[0]}; it belongs to another model.")


def save_checkpoint(
    path: str | Path,
    config: ModelConfig,
    tensors: Mapping[str, Tensor],
    *,
    complete: bool,
    training_words: Iterable[str] | None = None,
    half: bool = False,
) -> None:
    """Writes our safetensors format atomically; `half` stores floating-point tensors as float16.

    Raises `CheckpointError` if the file cannot be written.
    """
    path = Path(path)
    stored = {}
    for key, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        stored[key] = tensor.half() if half and tensor.is_floating_point() else tensor.clone()
    words = None if training_words is None else list(training_words)
    header = json.dumps({"config": config.to_dict(), "complete": complete, "training_words": words}, ensure_ascii=False)
    try:
        with atomic_file(path) as part:
            save_file(stored, part, metadata={"format": FORMAT, "header": header})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f'The file "{path}" cannot be written ({error}).') from error


def convert(source: str | Path, target: str | Path) -> Checkpoint:
    """Converts an official `.pth` (or one of our files) to safetensors with the configuration in its header."""
    checkpoint = read_checkpoint(source)
    # CLIP's encoders can be built on the meta device; XS's cannot, but they are small.
    with torch.device("meta" if checkpoint.complete else "cpu"):
        check(EOVSeg(checkpoint.config), checkpoint, Path(source).name)
    save_checkpoint(
        target,
        checkpoint.config,
        checkpoint.tensors,
        complete=checkpoint.complete,
        training_words=checkpoint.training_words,
    )
    return checkpoint


def default_checkpoint(variant: str) -> Path | None:
    """The variant's local weights or None: XS ships with the project, S, M and L need `eovseg download`."""
    if variant == "xs":
        return asset_path("weights/eovseg-xs.safetensors")
    path = default_cache_directory() / f"eovseg-{variant}.pth"
    return path if path.is_file() else None


def download(variant: str) -> Path:
    """Downloads the authors' checkpoint of "s", "m" or "l" (resumable), checks that it loads, records its SHA-256.

    Later loads of the file must match the recorded checksum. Raises `CheckpointError` if there is no network, the file
    is not the variant's checkpoint, or it cannot be written.
    """
    if variant not in _DRIVE_IDS:
        raise CheckpointError(
            f"There is no download for variant {variant!r}. Choose s, m or l (xs ships with the project)."
        )
    path = default_cache_directory() / f"eovseg-{variant}.pth"
    if not path.is_file():
        _fetch(_DRIVE_IDS[variant], path)
    check_record(path, read_checkpoint(path, variant).digest)
    return path


def check_record(path: Path, digest: str) -> None:
    """Records a downloaded file's SHA-256 next to it on first load and compares it on later loads.

    Raises `CheckpointError` if the file has changed since it was first loaded.
    """
    record = path.with_suffix(".sha256")
    try:
        recorded = record.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        with contextlib.suppress(OSError):  # the cache may be shared and read-only
            write_atomically(record, f"{digest}\n")
        return
    except OSError as error:
        raise CheckpointError(f'The checksum file "{record}" cannot be read ({error.strerror}).') from error
    if recorded != digest:
        raise CheckpointError(
            f"{path.name} does not match the checksum recorded at the first load. Delete it and download it again."
        )


def _fetch(drive_id: str, path: Path) -> None:
    try:
        import gdown
    except ImportError as error:
        raise CheckpointError(
            "The download needs the package gdown. Run pip install gdown, "
            f"or download Google Drive file {drive_id} in a browser and save it as {path}."
        ) from error

    partial = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        result = gdown.download(id=drive_id, output=str(partial), resume=True)
    except Exception as error:  # gdown does not wrap the errors of its HTTP library
        raise CheckpointError(
            f"The download failed ({type(error).__name__}). Check your network connection and run the command again, "
            f"or download Google Drive file {drive_id} in a browser and save it as {path}."
        ) from error
    if result is None:
        raise CheckpointError(
            f"The download returned no file. Download Google Drive file {drive_id} in a browser and save it as {path}."
        )
    os.replace(partial, path)
