"""Spatial extractors: the output of an early ViT block, a map with fine spatial detail (paper section 3.3, Table 3).

CLIP ViT-B/16, DINOv2 ViT-B/14 and SAM ViT-B/16 come from timm; "own" is XS's small block, trained with the head.
Later blocks are dropped.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import CheckpointError
from eovseg.model.config import SpatialExtractorKind
from eovseg.model.vit import ViT

_TIMM_NAMES = {
    "CLIP": "vit_base_patch16_clip_quickgelu_224.openai",
    "DINOv2": "vit_base_patch14_dinov2.lvd142m",
    "SAM": "samvit_base_patch16.sa1b",
}


def resize_position_embedding(embedding: Tensor, size: tuple[int, int], prefix: int) -> Tensor:
    """Learned positions (1, prefix + n*n, C) resized bilinearly (align_corners=False) to another grid size.

    The embeddings of the `prefix` tokens are kept.
    """
    kept, grid = embedding[:, :prefix], embedding[:, prefix:]
    side = math.isqrt(grid.shape[1])
    if (side, side) == size:
        return embedding
    grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size, mode="bilinear", align_corners=False)
    return torch.cat([kept, grid.flatten(2).transpose(1, 2)], dim=1)


class SpatialExtractor(nn.Module):
    """Image (B, 3, H, W), normalised for the CNN, H and W multiples of 32 -> block output (B, C_s, H/16, W/16).

    DINOv2 uses patches of 14 pixels, so the image is first resized by 14/16 to get the same grid, H/16 x W/16.
    SAM has no class token and uses windowed blocks; its positions are resized like those of the others.
    """

    def __init__(self, kind: SpatialExtractorKind, block: int = 0, dim: int = 768, pretrained: bool = False) -> None:
        super().__init__()
        self.kind = kind
        depth = block + 1
        if kind == "own":
            self.vit: Any = ViT(dim, depth)
        else:
            import timm

            # Pretrained weights need the full depth for loading; later blocks are dropped right afterwards.
            shape: dict[str, Any] = {} if pretrained else {"depth": depth}
            try:
                self.vit = timm.create_model(_TIMM_NAMES[kind], pretrained=pretrained, num_classes=0, **shape)
            except (OSError, RuntimeError) as error:  # raised by hub clients without a network
                raise CheckpointError(
                    f"The spatial extractor {_TIMM_NAMES[kind]} cannot be downloaded ({type(error).__name__}). Connect "
                    "to the network once, or give a full EOV-Seg checkpoint, which contains it."
                ) from error
            self.vit.blocks = self.vit.blocks[:depth]
            self.vit.norm = nn.Identity()
            if kind == "SAM":
                self.vit.neck = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        if self.kind == "DINOv2":
            size = (images.shape[-2] // 16 * 14, images.shape[-1] // 16 * 14)
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        patches = self.vit.patch_embed.proj(images)  # (B, C_s, h, w)
        batch, _, height, width = patches.shape
        if self.kind == "SAM":
            tokens = patches.permute(0, 2, 3, 1)  # windowed blocks keep the grid: (B, h, w, C_s)
            positions = self.vit.pos_embed.flatten(1, 2)
            tokens = tokens + resize_position_embedding(positions, (height, width), 0).unflatten(1, (height, width))
            return self.vit.blocks(tokens).permute(0, 3, 1, 2)
        tokens = patches.flatten(2).transpose(1, 2)  # (B, hw, C_s)
        prefix = self.vit.num_prefix_tokens
        if prefix:
            tokens = torch.cat([self.vit.cls_token.expand(batch, -1, -1), tokens], dim=1)
        tokens = tokens + resize_position_embedding(self.vit.pos_embed, (height, width), prefix)
        tokens = self.vit.blocks(self.vit.norm_pre(tokens))
        return tokens[:, prefix:].transpose(1, 2).unflatten(2, (height, width))


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of a map (B, C, h, w), with biased variance and the published eps of 1e-6."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True)
        variance = (x - mean).pow(2).mean(dim=1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class SpatialUpscaling(nn.Sequential):
    """Two transposed 2x2 convolutions, from stride 16 to stride 4: (B, C_s, h, w) -> S (B, C_s, 4h, 4w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            LayerNorm2d(channels),
            nn.GELU(),
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            nn.GELU(),
        )
