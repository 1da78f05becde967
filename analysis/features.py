"""Patch features of any block of a timm ViT and of the stages of our CNNs, at any input size (Fig. 3 and 9).

The model's own forward pass runs with hooks on the requested blocks and stops after the last of them. At sizes other
than the native one, learned position embeddings are resampled as timm does it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
import torch
from timm.layers.format import Format
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
    """The transformer blocks of a timm ViT."""
    blocks: Any = vit.blocks
    return list(blocks)


def patch_size(vit: nn.Module) -> tuple[int, int]:
    """Height and width of a patch in pixels; inputs must be multiples of it."""
    embedding: Any = vit.patch_embed
    height, width = embedding.proj.kernel_size
    return int(height), int(width)


@torch.inference_mode()
def vit_features(vit: nn.Module, pixels: Tensor, blocks: Sequence[int], tap: Tap = "output") -> dict[int, Tensor]:
    """Patch features (B, C, h, w) of `blocks` (0 = first, -1 = last) for normalised pixels (B, 3, H, W), in one pass.

    `tap`: the block's input ("before attention"), the residual sum after its attention ("after attention"), or its
    output ("output"). Blocks after the last requested one do not run; `vit` is not modified. Class and register tokens
    are dropped. Raises `ConfigError` for unknown blocks and taps and for sizes that are not multiples of the patch.
    """
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
    return {block: _as_map(found[block % depth], grid) for block in blocks}


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

    Raises `ConfigError` for unknown taps.
    """
    if tap not in TAPS:
        raise ConfigError(f"tap={tap!r} is not allowed; choose one of {', '.join(TAPS)}.")
    after_attention: Any = block.norm2  # its input is the sum after attention
    return (after_attention if tap == "after attention" else block), tap != "output"


def resized_to_grid(vit: nn.Module, grid: tuple[int, int]) -> nn.Module:
    """The model for a patch grid (h, w), with positions resampled if the grid is not its own; tensors stay shared."""
    model: Any = vit
    if getattr(model, "dynamic_img_size", True) or tuple(model.patch_embed.grid_size) == grid:
        return vit  # SAM always resamples its positions, and others with `dynamic_img_size`
    sized = shallow_copy(model)
    sized.dynamic_img_size = True
    sized.patch_embed = shallow_copy(model.patch_embed)
    sized.patch_embed.strict_img_size = sized.patch_embed.flatten = False
    sized.patch_embed.output_fmt = Format.NHWC
    return sized


def _as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens as (B, C, h, w), without prefix tokens."""
    if tokens.ndim == 4:  # SAM keeps the grid: (B, h, w, C)
        return tokens.permute(0, 3, 1, 2)
    return tokens[:, -grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)


@torch.inference_mode()
def cnn_features(model: nn.Module, pixels: Tensor) -> tuple[Tensor, ...]:
    """The output (B, C, h, w) of every stage of a CNN for normalised pixels (B, 3, H, W), from fine to coarse.

    `model` is an image encoder of this project (`network.feature_extractor`).
    """
    levels: tuple[Tensor, ...] = model(pixels).levels
    return levels


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
