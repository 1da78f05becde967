"""Weight files: the authors' detectron2 checkpoints, our safetensors files with a config header, and downloads.

Every tensor of an official file must be used or known to be unused (later ViT blocks, the ViT's text encoder, the
loss buffer); any other tensor is an error. Files cannot run code: they are read with `weights_only` or as safetensors.
"""

import contextlib
import hashlib
import json
import os
import re
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

FORMAT = "eovseg-1"
TRAINING_KEYS = frozenset({"model", "optimizer", "step", "rng"})  # of training checkpoints
_TORCH_STARTS = (b"PK", b"\x80")  # of files by `torch.save`: a zip file, in old versions a pickle

# File ids on the authors' Google Drive, from their README (December 2024).
_DRIVE_IDS = {
    "s": "1UgLrRxpi4l30F8zTqhEv7cEW23TCGv3h",
    "m": "1--SYgaWs8_Ry2ouXBJO8FfSWH7D-Pejk",
    "l": "1dVfHpzmCOlV6hLfUpd3nHXz62wdB7RY2",
}

_BLOCK_NAMES = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
    "attn.out_proj": "attn.proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
# Official name pattern -> our name; the first match wins.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"cnn_backbone\.clip_model\.logit_scale$", "feature_extractor.logit_scale"),
    (r"cnn_backbone\.clip_model\.visual\.", "feature_extractor.visual."),
    (r"cnn_backbone\.clip_model\.", "text_encoder.clip."),
    (r"vit_backbone\.clip_model\.visual\.conv1\.", "spatial_extractor.vit.patch_embed.proj."),
    (r"vit_backbone\.clip_model\.visual\.class_embedding$", "spatial_extractor.vit.cls_token"),
    (r"vit_backbone\.clip_model\.visual\.positional_embedding$", "spatial_extractor.vit.pos_embed"),
    (r"vit_backbone\.clip_model\.visual\.ln_pre\.", "spatial_extractor.vit.norm_pre."),
    *(
        (
            rf"vit_backbone\.clip_model\.visual\.transformer\.resblocks\.(\d+)\.{re.escape(theirs)}",
            rf"spatial_extractor.vit.blocks.\1.{ours}",
        )
        for theirs, ours in _BLOCK_NAMES.items()
    ),
    *((rf"lite_aggr\.deconv\.lateral_conv{i}\.", f"aggregator.laterals.{i}.") for i in range(4)),
    *((rf"lite_aggr\.deconv\.conv_a{5 - i}\.", f"aggregator.level_projections.{i}.") for i in range(4)),
    *(
        (rf"lite_aggr\.deconv\.deform_conv{i + 1}\.{theirs}", f"aggregator.upsamplers.{i}.{ours}")
        for i in range(3)
        for theirs, ours in (
            (r"dcn_offset\.", "offset."),
            (r"dcn\.weight$", "deform_weight"),
            (r"dcn_bn\.", "deform_norm."),
            (r"up_sample\.", "upsample."),
            (r"up_bn\.", "upsample_norm."),
        )
    ),
    (r"lite_aggr\.deconv\.bias$", "aggregator.bias"),
    (r"lite_aggr\.deconv\.output_conv\.", "aggregator.output."),
    (r"lite_aggr\.loc_conv\.", "aggregator.coordinate_conv."),
    (r"light_weight_decoder\.output_upscaling\.", "spatial_upscaling."),
    (r"light_weight_decoder\.vas\.embed_conv\.depthwise\.norm\.", "vas.embed_depthwise_norm."),
    (r"light_weight_decoder\.vas\.embed_conv\.depthwise\.", "vas.embed_depthwise."),
    (r"light_weight_decoder\.vas\.embed_conv\.pointwise\.norm\.", "vas.embed_pointwise_norm."),
    (r"light_weight_decoder\.vas\.embed_conv\.pointwise\.", "vas.embed_pointwise."),
    (r"light_weight_decoder\.vas\.guide_fc\.", "vas.guide."),
    (r"light_weight_decoder\.vas\.", "vas."),
    (r"light_weight_decoder\.object_kernels\.", "decoder.object_kernels."),
    *(
        (rf"light_weight_decoder\.mask_heads\.(\d+)\.{theirs}", rf"decoder.layers.\1.{ours}")
        for theirs, ours in (
            (r"logit_scale$", "logit_scale"),
            (r"tdee\.", "fusion."),
            (r"f_atten\.weight_linear\.", "interaction.feature_attention.kernel."),
            (r"f_atten\.norm\.", "interaction.feature_attention.norm."),
            (r"f_atten_norm\.", "interaction.feature_norm."),
            (r"k_atten\.weight_linear\.", "interaction.kernel_attention.kernel."),
            (r"k_atten\.norm\.", "interaction.kernel_attention.norm."),
            (r"k_atten_norm\.", "interaction.kernel_norm."),
            (r"s_atten\.", "self_attention."),
            (r"s_atten_norm\.", "self_attention_norm."),
            (r"ffn\.layers\.0\.0\.", "ffn.0."),
            (r"ffn\.layers\.1\.", "ffn.2."),
            (r"ffn_norm\.", "ffn_norm."),
            (r"mask_fcs\.", "mask_embed."),
            (r"fc_mask\.", "mask_embed.3."),
            (r"_mask_pooling_proj\.", "feature_projection."),
            (r"_spatial_mask_pooling_proj\.", "spatial_projection."),
            (r"class_embed\.layers\.0\.", "class_embed.0."),
            (r"class_embed\.layers\.1\.", "class_embed.2."),
            (r"class_embed\.layers\.2\.", "class_embed.4."),
        )
    ),
    (r"void_embedding\.", "void_embedding."),
)
_COMPILED = tuple((re.compile(pattern), ours) for pattern, ours in _RENAMES)
# Present in the file but unused by the method: the ViT's text encoder, its final norm and projection, the loss weights.
_UNUSED = re.compile(
    r"vit_backbone\.clip_model\.(positional_embedding|text_projection|logit_scale|token_embedding\.|ln_final\.|"
    r"transformer\.|visual\.ln_post\.|visual\.proj$)|light_weight_decoder\.criterion\.empty_weight$"
)
_VIT_BLOCK = re.compile(r"spatial_extractor\.vit\.blocks\.(\d+)\.")


@dataclass(frozen=True)
class SortedKeys:
    """The keys of an official checkpoint by use; `used` maps official names to ours."""

    used: dict[str, str]
    unused: tuple[str, ...]
    unknown: tuple[str, ...]


def sort_official_keys(keys: Iterable[str], spatial_block: int = 0) -> SortedKeys:
    """Sorts official keys into used, unused and unknown; ViT blocks after `spatial_block` are unused."""
    used: dict[str, str] = {}
    unused, unknown = [], []
    for key in keys:
        ours = _rename(key)
        block = _VIT_BLOCK.match(ours or "")
        if _UNUSED.match(key) or (block and int(block[1]) > spatial_block):
            unused.append(key)
        elif ours is None:
            unknown.append(key)
        else:
            used[key] = ours
    return SortedKeys(used, tuple(unused), tuple(unknown))


def _rename(key: str) -> str | None:
    for pattern, ours in _COMPILED:
        match = pattern.match(key)
        if match:
            return match.expand(ours) + key[match.end() :]
    return None


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
    """Advice for weights of another variant than the given one, on the command line and in Python."""
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

    Raises `CheckpointError` if the file has changed since its first load.
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
            f"{path.name} does not match the checksum recorded at its first load. Delete it and download it again."
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
