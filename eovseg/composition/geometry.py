"""Upsampling masks from stride 4 to the photo's size."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BAND_ELEMENTS = 2**20  # mask values held at once, about 4 MB in float32, to fit a CPU's cache


@dataclass(frozen=True)
class MaskGeometry:
    """Masks at stride 4 are upsampled to the padded input, cropped and resized. All sizes are (height, width)."""

    padded_size: tuple[int, int]
    input_size: tuple[int, int]
    output_size: tuple[int, int]

    def bands(self, mask_logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Mask logits (Q, h, w) at output size, one band of rows at a time: (rows, (Q, rows, W)).

        Equals bilinear upsampling of the full masks to `padded_size`, cropping and bilinear resizing.
        """
        height, width = self.output_size
        values = max(1, len(mask_logits)) * max(width, self.padded_size[1])
        rows = max(1, min(height, BAND_ELEMENTS // values))
        for start in range(0, height, rows):
            stop = min(height, start + rows)
            yield slice(start, stop), self.window(mask_logits, slice(start, stop), slice(0, width))

    def window(self, mask_logits: Tensor, rows: slice, columns: slice) -> Tensor:
        """A window of the masks at output size, equal to cropping the full masks: (Q, h, w) -> (Q, rows, columns).

        `rows` and `columns` must not be empty.
        """
        if self.output_size == self.input_size:
            return self._upsampled(mask_logits, rows, columns)
        sizes = zip(self.input_size, self.output_size, (rows, columns), strict=True)
        (top, bottom, down), (left, right, along) = (
            bilinear_axis(size, target, part.start, part.stop, mask_logits) for size, target, part in sizes
        )
        y, x = int(top[0]), int(left[0])
        part = self._upsampled(mask_logits, slice(y, int(bottom[-1]) + 1), slice(x, int(right[-1]) + 1))
        part = torch.lerp(part[:, top - y], part[:, bottom - y], down[:, None])
        return torch.lerp(part[..., left - x], part[..., right - x], along)

    def _upsampled(self, mask_logits: Tensor, rows: slice, columns: slice) -> Tensor:
        """A window of the masks at input size, exact thanks to a halo of one source pixel."""
        stride = self.padded_size[0] // mask_logits.shape[-2]
        (top, bottom), (left, right) = (
            (max(0, part.start // stride - 1), min(length, (part.stop - 1) // stride + 2))
            for part, length in zip((rows, columns), mask_logits.shape[-2:], strict=True)
        )
        size = (bottom - top) * stride, (right - left) * stride
        part = F.interpolate(mask_logits[None, :, top:bottom, left:right], size, mode="bilinear", align_corners=False)
        y, x = top * stride, left * stride
        return part[0, :, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]


def bilinear_axis(size: int, target: int, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bilinear neighbours and weights of pixels `start`..`stop` of an axis resized from `size` to `target`.

    Returns low and high indices (n,) long and the weight of `high` (n,), with the dtype and device of `like`.
    """
    positions = torch.arange(start, stop, device=like.device, dtype=like.dtype)
    source = ((positions + 0.5) * (size / target) - 0.5).clamp(min=0)
    low = source.floor().long().clamp(max=size - 1)
    return low, (low + 1).clamp(max=size - 1), source - low
