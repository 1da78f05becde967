"""Patch features of any block of a ViT (timm or open_clip) and of CNN stages, at any input size (Fig. 3 and 9).

The model's own forward pass runs with hooks on the requested blocks and stops after the last of them. At sizes other
than the native one, learned position embeddings are resampled as timm does it.
"""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
import torch
from timm.layers.format import Format
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.eva import EvaBlockPostNorm
from timm.models.vision_transformer import ResPostBlock
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.ablation import shallow_copy
from eovseg.errors import ConfigError
from eovseg.model.spatial import SpatialExtractor

Tap = Literal["before attention", "after attention", "output"]
TAPS: tuple[Tap, ...] = ("before attention", "after attention", "output")


class _LastBlockDone(Exception):
    """Ends a forward pass from inside a hook."""


def vit_blocks(vit: nn.Module) -> Sequence[nn.Module]:
    """The transformer blocks of a timm ViT or an open_clip image encoder; raises `ConfigError` for other models."""
    vit = _unwrapped(vit)
    blocks = getattr(vit, "blocks", None)
    if blocks is None:
        blocks = getattr(getattr(vit, "transformer", None), "resblocks", None)
    if not isinstance(blocks, nn.Sequential | nn.ModuleList) or len(blocks) == 0:
        raise ConfigError(f"{type(vit).__name__} has no transformer blocks; give a ViT from timm or open_clip.")
    return list(blocks)


def patch_size(vit: nn.Module) -> tuple[int, int]:
    """Height and width of a patch in pixels; inputs must be multiples of it."""
    model: Any = _unwrapped(vit)
    embed: Any = getattr(model, "patch_embed", None)
    if hasattr(embed, "backbone"):  # a CNN stem: its stride counts too
        height, width = (side // cells for side, cells in zip(embed.img_size, embed.grid_size, strict=True))
        return int(height), int(width)
    projection: Any = getattr(embed, "proj", None) if embed is not None else getattr(model, "conv1", None)
    if not hasattr(projection, "kernel_size"):
        raise ConfigError(f"{type(vit).__name__} does not split its input into patches of one size; give a plain ViT.")
    height, width = projection.kernel_size
    return int(height), int(width)


def _unwrapped(vit: nn.Module) -> nn.Module:
    """The ViT itself, without the wrapper that open_clip puts around timm models."""
    trunk = getattr(vit, "trunk", None)
    return trunk if isinstance(trunk, nn.Module) else vit


@torch.inference_mode()
def vit_features(vit: nn.Module, pixels: Tensor, blocks: Sequence[int], tap: Tap = "output") -> dict[int, Tensor]:
    """Patch features (B, C, h, w) of `blocks` (0 = first, -1 = last) for normalised pixels (B, 3, H, W), in one pass.

    `tap`: the block's input ("before attention"), the residual sum after its attention ("after attention"), or its
    output ("output"). Blocks after the last requested one do not run; `vit` is not modified. Class and register tokens
    are dropped. Raises `ConfigError` for unknown blocks and taps and for sizes that are not multiples of the patch.
    """
    vit = _unwrapped(vit)
    height, width = patch_size(vit)
    if pixels.shape[-2] % height or pixels.shape[-1] % width:
        raise ConfigError(
            f"The input is {pixels.shape[-2]} x {pixels.shape[-1]} pixels; both sides must be multiples of the patch "
            f"size, {height} x {width}."
        )
    grid = (pixels.shape[-2] // height, pixels.shape[-1] // width)
    sized = resized_to_grid(vit, grid)
    return _block_maps(sized, sized, pixels, blocks, tap, grid)


@torch.inference_mode()
def spatial_features(
    extractor: SpatialExtractor, pixels: Tensor, blocks: Sequence[int], tap: Tap = "output"
) -> dict[int, Tensor]:
    """Like `vit_features`, but through the spatial extractor's own forward pass, with its positions and stride 16.

    `pixels` (B, 3, H, W) are normalised, both sides multiples of 32; returns (B, C_s, H/16, W/16) for each block.
    """
    grid = (pixels.shape[-2] // 16, pixels.shape[-1] // 16)
    return _block_maps(extractor, extractor.vit, pixels, blocks, tap, grid)


def _block_maps(
    model: nn.Module, vit: nn.Module, pixels: Tensor, blocks: Sequence[int], tap: Tap, grid: tuple[int, int]
) -> dict[int, Tensor]:
    """Features (B, C, h, w) of blocks of `vit` from a run of `model(pixels)` that stops after the last of them."""
    depth = len(vit_blocks(vit))
    if not blocks or any(not -depth <= block < depth for block in blocks):
        raise ConfigError(
            f"blocks={list(blocks)} is not allowed; choose from the {depth} blocks, 0 to {depth - 1} or -1."
        )
    found: dict[int, Tensor] = {}
    with _hook_blocks(vit, {block % depth for block in blocks}, tap, found), suppress(_LastBlockDone):
        model(pixels)
    return {block: _as_map(vit, found[block % depth], grid, pixels.shape[0]) for block in blocks}


@contextmanager
def _hook_blocks(vit: nn.Module, wanted: set[int], tap: Tap, found: dict[int, Tensor]) -> Iterator[None]:
    """Install hooks that store the requested features and stop the pass after the last of them."""
    last, ours = max(wanted), threading.get_ident()

    def keep(index: int, value: Tensor) -> None:
        if threading.get_ident() != ours:  # another thread may run the same blocks at the same time
            return
        found[index] = value
        if index == last:
            raise _LastBlockDone

    handles = []
    for index in wanted:
        module, entered = tap_module(vit_blocks(vit)[index], tap)
        if entered:
            handles.append(module.register_forward_pre_hook(lambda _m, given, index=index: keep(index, given[0])))
        else:
            handles.append(module.register_forward_hook(lambda _m, _given, out, index=index: keep(index, out)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tap_module(block: nn.Module, tap: Tap) -> tuple[nn.Module, bool]:
    """The module to hook for a tap of a block, and whether to read its input (True) or its output (False).

    Raises `ConfigError` for unknown taps and for blocks that do not expose the sum after their attention.
    """
    if tap not in TAPS:
        raise ConfigError(f"tap={tap!r} is not allowed; choose one of {', '.join(TAPS)}.")
    return (_module_after_attention(block) if tap == "after attention" else block), tap != "output"


def _module_after_attention(block: nn.Module) -> nn.Module:
    """The module of a block whose input is the sum after attention; raises `ConfigError` if there is none."""
    post_norm = isinstance(block, ResPostBlock | EvaBlockPostNorm)  # they normalise after attention and MLP
    module = block.mlp if post_norm else getattr(block, "norm2", getattr(block, "ln_2", None))
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{type(block).__name__} does not expose the sum after its attention.")
    return module


def resized_to_grid(vit: nn.Module, grid: tuple[int, int]) -> nn.Module:
    """The model for a patch grid (h, w), with positions resampled if the grid is not its own; tensors stay shared.

    Raises `ConfigError` for models with a fixed input size.
    """
    model: Any = vit
    if not hasattr(model, "patch_embed"):
        return _resized_clip_encoder(model, grid)
    native = tuple(getattr(model.patch_embed, "grid_size", None) or ()) == grid
    dynamic = getattr(model, "dynamic_img_size", None)
    own_positions = not hasattr(model, "pos_embed") or not _resamples_positions(model)
    if own_positions and not native and dynamic is not True:
        return _resized_timm_model(model, grid)
    if native and dynamic is None:
        return model
    sized = shallow_copy(model)
    sized.patch_embed = shallow_copy(model.patch_embed)
    sized.patch_embed.strict_img_size = False
    if dynamic is False and not native:
        sized.dynamic_img_size = True
        sized.patch_embed.flatten = False
        sized.patch_embed.output_fmt = Format.NHWC
    return sized


def _resamples_positions(model: Any) -> bool:
    """Whether the forward pass itself resamples positions: SAM always does, others with `dynamic_img_size`."""
    if isinstance(model, VisionTransformerSAM):
        return True
    rotary = getattr(model, "rope", None)
    return hasattr(model, "dynamic_img_size") and getattr(rotary, "pos_embed", None) is None


def _resized_timm_model(model: Any, grid: tuple[int, int]) -> nn.Module:
    """A copy resized by timm's own `set_input_size`, for models with rotary or relative position tables."""
    if not hasattr(model, "set_input_size"):
        raise ConfigError(f"{type(model).__name__} accepts only its native size.")
    height, width = patch_size(model)
    sized = copy.deepcopy(model)
    sized.set_input_size(img_size=(grid[0] * height, grid[1] * width))
    return sized


def _resized_clip_encoder(encoder: Any, grid: tuple[int, int]) -> nn.Module:
    """An open_clip encoder with its positions resampled to a grid; the encoder itself if the grid is its own."""
    own = tuple(encoder.grid_size)
    if own == grid:
        return encoder
    sized = shallow_copy(encoder)
    resized = resample_abs_pos_embed(encoder.positional_embedding.detach()[None], list(grid), list(own))
    sized._parameters = dict(encoder._parameters) | {
        "positional_embedding": nn.Parameter(resized[0], requires_grad=False)
    }
    return sized


def _as_map(vit: nn.Module, tokens: Tensor, grid: tuple[int, int], batch: int) -> Tensor:
    """Tokens in any layout as (B, C, h, w), without prefix tokens."""
    if tokens.ndim == 4:  # SAM keeps the grid: (B, h, w, C)
        return tokens.permute(0, 3, 1, 2)
    transformer = getattr(vit, "transformer", None)
    if transformer is not None and not getattr(transformer, "batch_first", True):
        tokens = tokens.transpose(0, 1)
    tokens = tokens.reshape(batch, -1, tokens.shape[-1])[:, -grid[0] * grid[1] :]
    if tokens.shape[1] != grid[0] * grid[1]:
        raise ConfigError(f"{type(vit).__name__} merges patches between its blocks; give a plain ViT.")
    return tokens.transpose(1, 2).unflatten(2, grid)


@torch.inference_mode()
def cnn_features(model: nn.Module, pixels: Tensor) -> tuple[Tensor, ...]:
    """The output (B, C, h, w) of every stage of a CNN for normalised pixels (B, 3, H, W), from fine to coarse.

    `model` is an image encoder of this project (`network.feature_extractor`) or a timm model with `features_only=True`.
    Raises `ConfigError` for models that do not return stages.
    """
    out = model(pixels)
    levels = getattr(out, "levels", out)
    if not isinstance(levels, list | tuple) or not all(isinstance(x, Tensor) and x.ndim == 4 for x in levels):
        raise ConfigError(f"{type(model).__name__} does not return stages; create it with features_only=True.")
    return tuple(levels)


def photo_pixels(
    image: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    multiple: tuple[int, int] = (16, 16),
    long_side: int = 512,
) -> Tensor:
    """A photo (H, W, 3) uint8 as normalised pixels (1, 3, h, w); `mean` and `std` are in 0..255.

    The longer side becomes `long_side`; both sides are rounded to multiples of a patch (height, width).
    """
    scale = long_side / max(image.shape[:2])
    height, width = (
        max(1, round(side * scale / step)) * step for side, step in zip(image.shape[:2], multiple, strict=True)
    )
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def channels_last(features: Tensor) -> np.ndarray:
    """(1, C, h, w) of one photo as (h, w, C) float32, the layout of `analysis.clustering`."""
    return features[0].permute(1, 2, 0).float().cpu().numpy()
