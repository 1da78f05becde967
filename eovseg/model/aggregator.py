"""Lite aggregator (paper Eq. 1): merges the image encoder's four levels into one map F_agg at stride 4.

A top-down path of modulated deformable 3x3 convolutions and transposed convolutions. Every level is projected to the
same width, upsampled to stride 4 and summed; two coordinate channels in [-1, 1] are appended before the final 1x1.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.positions import coordinates


class DeformableUpsample(nn.Module):
    """Modulated deformable 3x3, then transposed 4x4 with stride 2, each with BN + ReLU; doubles height and width."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(in_channels, 27, 3, padding=1)
        self.deform_weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.deform_norm = nn.BatchNorm2d(out_channels)
        self.upsample = nn.ConvTranspose2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.upsample_norm = nn.BatchNorm2d(out_channels)

    def deform(self, x: Tensor) -> Tensor:
        """Just the deformable convolution; 18 interleaved (dy, dx) offsets, then 9 modulation logits."""
        from torchvision.ops import deform_conv2d  # slow to import

        offset_and_mask = self.offset(x)
        offset, mask = offset_and_mask[:, :18], offset_and_mask[:, 18:].sigmoid()
        return deform_conv2d(x, offset, self.deform_weight, padding=1, mask=mask)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C_out, 2h, 2w)."""
        x = F.relu(self.deform_norm(self.deform(x)))
        return F.relu(self.upsample_norm(self.upsample(x)))


class LiteAggregator(nn.Module):
    """res2..res5 -> F_agg (B, C, H/4, W/4) and the levels p5, p4, p3 (strides 32, 16, 8) for multi-scale.

    `in_channels` and `lateral_channels` are ordered from stride 4 to stride 32; by default every lateral halves the
    number of channels, as in the published models. `width` is AGG_DIM. With `zero_offsets`, the deformable convolutions
    sample the regular grid at first.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        width: int,
        out_channels: int,
        lateral_channels: Sequence[int] | None = None,
        zero_offsets: bool = False,
    ) -> None:
        super().__init__()
        laterals = list(reversed(lateral_channels or [c // 2 for c in in_channels]))  # p5 first
        widths = list(reversed(in_channels))
        self.lateral_channels = tuple(laterals)
        self.laterals = nn.ModuleList(nn.Conv2d(c, p, 1) for c, p in zip(widths, laterals, strict=True))
        upsamplers = [DeformableUpsample(coarse, fine) for coarse, fine in pairwise(laterals)]
        self.upsamplers = nn.ModuleList(upsamplers)
        self.level_projections = nn.ModuleList(nn.Conv2d(p, width, 1, bias=False) for p in laterals)
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.output = nn.Conv2d(width, width, 3, padding=1)
        self.coordinate_conv = nn.Conv2d(width + 2, out_channels, 1)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        # The released code intends to start with zero offsets, but its xavier pass overwrites them.
        for upsampler in upsamplers:
            assert upsampler.offset.bias is not None
            nn.init.zeros_(upsampler.offset.bias)
            if zero_offsets:
                nn.init.zeros_(upsampler.offset.weight)

    def aggregate(self, features: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """(res2, res3, res4, res5) -> the sum of Eq. 1 at stride 4 (B, width, h, w), and (p5, p4, p3)."""
        coarse_first = list(reversed(features))
        level = self.laterals[0](coarse_first[0])
        levels = [level]
        for upsampler, lateral, feature in zip(self.upsamplers, self.laterals[1:], coarse_first[1:], strict=True):
            level = lateral(feature) + upsampler(level)
            levels.append(level)
        size = levels[-1].shape[-2:]
        total = self.bias
        for projection, level in zip(self.level_projections, levels, strict=True):
            level = projection(level)
            if level.shape[-2:] != size:
                level = F.interpolate(level, size, mode="bilinear", align_corners=False)
            total = total + level
        return self.output(total), (levels[0], levels[1], levels[2])

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """(res2, res3, res4, res5) -> F_agg (B, C, H/4, W/4), and (p5, p4, p3)."""
        total, levels = self.aggregate(features)
        places = coordinates(total).to(total.dtype).expand(len(total), -1, -1, -1)  # (B, 2, h, w)
        return self.coordinate_conv(torch.cat([total, places], dim=1)), levels
