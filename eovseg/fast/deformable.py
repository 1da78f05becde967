"""Deformable convolutions for CPUs, where torchvision's kernel samples in a single thread."""

import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.model.aggregator import DeformableUpsample


class FastDeformableUpsample(DeformableUpsample):
    """`DeformableUpsample` with the fastest implementation: the functions below on CPUs, torchvision's on GPUs.

    Tracing engines (`torch.compile`, OpenVINO) support torchvision's operation and use it on CPUs as well.
    """

    def deform(self, x: Tensor) -> Tensor:
        """The deformable convolution alone, at least in float32: half precision is not supported everywhere."""
        offset_and_mask = self.offset(x)
        offset, mask = offset_and_mask[:, :18], offset_and_mask[:, 18:].sigmoid()
        wide = torch.promote_types(self.deform_weight.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):
            x_wide, offset, mask = (tensor.to(wide).contiguous() for tensor in (x, offset, mask))
            return self.convolve_at(x_wide, offset, mask, self.deform_weight.to(wide)).to(x.dtype)

    def convolve_at(self, x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        """x (B, C, h, w), offset (B, 18, h, w), mask (B, 9, h, w), weight (C_out, C, 3, 3) -> (B, C_out, h, w)."""
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined, no-untyped-call]
        if x.device.type == "cpu" and torch.is_grad_enabled():
            return deform_by_sampling(x, offset, mask, weight)
        if x.device.type == "cpu" and not traced:
            return deform_by_products(x, offset, mask, weight)
        from torchvision.ops import deform_conv2d

        return deform_conv2d(x, offset, weight, padding=1, mask=mask)


class SampledDeformableUpsample(FastDeformableUpsample):
    """For runtimes without a deformable convolution."""

    def convolve_at(self, x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        """Like the base class, with `grid_sample`."""
        return deform_by_sampling(x, offset, mask, weight)


def deform_by_sampling(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """`torchvision.ops.deform_conv2d` with 3x3 kernel and padding 1, computed by `grid_sample` and one matrix product.

    Used for ONNX and for training on CPUs, where torchvision's single-threaded backward pass took a third of a step.
    """
    batch, channels, height, width = x.shape
    y, z = _sampled_places(offset)
    grid = torch.stack([(2 * z + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)  # (B, 9, h, w, 2)
    sampled = F.grid_sample(x, grid.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
    sampled = sampled.unflatten(2, (9, height)) * mask[:, None]  # (B, C, 9, h, w)
    product = weight.flatten(1) @ sampled.reshape(batch, channels * 9, height * width)
    return product.unflatten(2, (height, width))


def _sampled_places(offset: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column, in cells, sampled by each tap of each output: offset (B, 18, h, w) -> two (B, 9, h, w)."""
    rows = torch.arange(offset.shape[-2], device=offset.device, dtype=offset.dtype)
    columns = torch.arange(offset.shape[-1], device=offset.device, dtype=offset.dtype)
    taps = torch.arange(-1, 2, device=offset.device, dtype=offset.dtype)
    offset = offset.unflatten(1, (9, 2))  # (B, 9, (dy, dx), h, w)
    y = offset[:, :, 0] + taps.repeat_interleave(3)[:, None, None] + rows[:, None]
    z = offset[:, :, 1] + taps.repeat(3)[:, None, None] + columns
    return y, z


def deform_by_products(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """`torchvision.ops.deform_conv2d` with 3x3 kernel and padding 1: one matrix product, then sums of its rows.

    Sampling and weighting are both linear, so each cell is first multiplied by the weights of all nine taps. Each
    output is then a weighted sum of 36 rows (9 taps, 4 neighbours) of that product. It has no gradient. On CPUs, it is
    five to ten times as fast as torchvision's kernel.
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
