"""Lite aggregator (paper Eq. 1): four tower levels become one map F_agg at stride 4.

Top-down path of modulated deformable 3x3 convolutions and transposed convolutions; every level is brought to one
width, upsampled to stride 4 and summed; two coordinate channels in [-1, 1] are appended before the last 1x1.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DeformableUpsample(nn.Module):
    """Modulated deformable 3x3, then transposed 4x4 stride 2, each with BN + ReLU; twice the height and width."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(in_channels, 27, 3, padding=1)
        self.deform_weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.deform_norm = nn.BatchNorm2d(out_channels)
        self.upsample = nn.ConvTranspose2d(out_channels, out_channels, 4, stride=2, padding=1, bias=False)
        self.upsample_norm = nn.BatchNorm2d(out_channels)

    def deform(self, x: Tensor) -> Tensor:
        """The deformable convolution alone; 18 interleaved (dy, dx) offsets, then 9 modulation logits."""
        offset_and_mask = self.offset(x)
        offset, mask = offset_and_mask[:, :18], offset_and_mask[:, 18:].sigmoid()
        # torchvision's kernel has no half precision on the CPU; the levels here are the small ones.
        wide = torch.promote_types(self.deform_weight.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            x_wide, offset, mask = x.to(wide).contiguous(), offset.to(wide).contiguous(), mask.to(wide).contiguous()
            weight = self.deform_weight.to(wide)
            # other engines know the operation whole
            traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined, no-untyped-call]
            if x.device.type == "cpu" and torch.is_grad_enabled():
                y = deform_by_sampling(x_wide, offset, mask, weight)
            elif x.device.type == "cpu" and not traced:
                y = deform_by_products(x_wide, offset, mask, weight)
            else:
                from torchvision.ops import deform_conv2d

                y = deform_conv2d(x_wide, offset, weight, padding=1, mask=mask)
        return y.to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.deform_norm(self.deform(x)))
        return F.relu(self.upsample_norm(self.upsample(x)))


def deform_by_sampling(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """`torchvision.ops.deform_conv2d` with 3x3 kernel and padding 1, through `grid_sample` and one matrix product.

    For training on the CPU only: torchvision's backward pass runs on one thread there and took a third of a step.
    """
    batch, channels, height, width = x.shape
    y, z = _sampled_places(offset)
    grid = torch.stack([(2 * z + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)  # (B, 9, h, w, 2)
    sampled = F.grid_sample(x, grid.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
    sampled = sampled.unflatten(2, (9, height)) * mask[:, None]  # (B, C, 9, h, w)
    product = weight.flatten(1) @ sampled.reshape(batch, channels * 9, height * width)
    return product.unflatten(2, (height, width))


def _sampled_places(offset: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column, in cells, that each tap of each output reads: offset (B, 18, h, w) -> two (B, 9, h, w)."""
    rows = torch.arange(offset.shape[-2], device=offset.device, dtype=offset.dtype)
    columns = torch.arange(offset.shape[-1], device=offset.device, dtype=offset.dtype)
    taps = torch.arange(-1, 2, device=offset.device, dtype=offset.dtype)
    offset = offset.unflatten(1, (9, 2))  # (B, 9, (dy, dx), h, w)
    y = offset[:, :, 0] + taps.repeat_interleave(3)[:, None, None] + rows[:, None]
    z = offset[:, :, 1] + taps.repeat(3)[:, None, None] + columns
    return y, z


def deform_by_products(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """`torchvision.ops.deform_conv2d` with 3x3 kernel and padding 1: one matrix product, then sums of its rows.

    Sampling and weights are both linear, so each cell is first multiplied by all nine taps' weights; an output is then
    a weighted sum of 36 rows (9 taps, 4 neighbours) of that product. No gradient. Five to ten times as fast as
    torchvision's kernel on a CPU, which samples on one thread.
    """
    channels, height, width = x.shape[1:]
    y, z = _sampled_places(offset)
    top, left = y.floor(), z.floor()
    places, shares = [], []
    for row, across in ((top, top + 1 - y), (top + 1, y - top)):
        for column, along in ((left, left + 1 - z), (left + 1, z - left)):
            there = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            shares.append(across * along * mask * there)
            places.append(row.clamp(0, height - 1) * width + column.clamp(0, width - 1))
    tap = torch.arange(9, device=x.device)[:, None]
    rows = torch.stack(places, dim=-1).nan_to_num().long().movedim(1, 3) * 9 + tap  # (B, h, w, 9, 4)
    share = torch.stack(shares, dim=-1).movedim(1, 3)
    taps = weight.permute(1, 2, 3, 0).reshape(channels, -1)  # (C, 9 * C_out)
    found = []
    for image in range(len(x)):
        table = (x[image].flatten(1).T @ taps).view(-1, len(weight))  # (h * w * 9, C_out)
        bags, amounts = rows[image].reshape(height * width, 36), share[image].reshape(height * width, 36)
        found.append(F.embedding_bag(bags, table, mode="sum", per_sample_weights=amounts))
    return torch.stack(found).transpose(1, 2).unflatten(2, (height, width))


class LiteAggregator(nn.Module):
    """res2..res5 -> F_agg (B, C, H/4, W/4) and the levels p5, p4, p3 that the multi-scale variants read.

    `in_channels` and `lateral_channels` are ordered from stride 4 to stride 32; without `lateral_channels` every
    lateral halves its input, as in the published models.
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
        towers = list(reversed(in_channels))
        self.lateral_channels = tuple(laterals)
        self.laterals = nn.ModuleList(nn.Conv2d(c, p, 1) for c, p in zip(towers, laterals, strict=True))
        upsamplers = [DeformableUpsample(coarse, fine) for coarse, fine in pairwise(laterals)]
        self.upsamplers = nn.ModuleList(upsamplers)
        self.level_projections = nn.ModuleList(nn.Conv2d(p, width, 1, bias=False) for p in laterals)
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.output = nn.Conv2d(width, width, 3, padding=1)
        self.coordinate_conv = nn.Conv2d(width + 2, out_channels, 1)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        # The released code means to start with zero offsets but its xavier pass overwrites them.
        for upsampler in upsamplers:
            assert upsampler.offset.bias is not None
            nn.init.zeros_(upsampler.offset.bias)
            if zero_offsets:
                nn.init.zeros_(upsampler.offset.weight)

    def aggregate(self, features: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """(res2, res3, res4, res5) -> the sum at stride 4 (B, width, h, w), and (p5, p4, p3)."""
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
        total, levels = self.aggregate(features)
        batch, _, height, width = total.shape
        x = torch.linspace(-1, 1, width, device=total.device, dtype=total.dtype).expand(batch, 1, height, width)
        y = torch.linspace(-1, 1, height, device=total.device, dtype=total.dtype)[:, None].expand(
            batch, 1, height, width
        )
        return self.coordinate_conv(torch.cat([total, x, y], dim=1)), levels
