"""How masks at stride 4 become masks of a photo's size."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BAND_ELEMENTS = 2**20  # mask values held at once, about 4 MB in float32: they stay in a processor's cache


@dataclass(frozen=True)
class MaskGeometry:
    """How masks at stride 4 reach the photo: upsampled to the padded input, cropped, resized. All (height, width)."""

    padded_size: tuple[int, int]
    input_size: tuple[int, int]
    output_size: tuple[int, int]

    def bands(self, mask_logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Mask logits (Q, h, w) at output size, a band of rows at a time: (rows, (Q, rows, W)).

        Equal to bilinear upsampling to `padded_size`, cropping and bilinear resizing of the whole.
        """
        height, width = self.output_size
        values = max(1, len(mask_logits)) * max(width, self.padded_size[1])
        rows = max(1, min(height, BAND_ELEMENTS // values))
        for start in range(0, height, rows):
            stop = min(height, start + rows)
            yield slice(start, stop), self.window(mask_logits, slice(start, stop), slice(0, width))

    def window(self, mask_logits: Tensor, rows: slice, columns: slice) -> Tensor:
        """The part of the masks at output size that `rows` and `columns` cut out, neither empty, the same values as of
        the whole: (Q, h, w) -> (Q, rows, columns)."""
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
        """A window of the masks at input size; a halo of one source pixel makes it exact."""
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
    """Neighbours and weight of the pixels `start`..`stop` of an axis resized from `size` to `target`: low, high (n,)
    long and the share of `high` (n,), in the dtype and on the device of `like`."""
    positions = torch.arange(start, stop, device=like.device, dtype=like.dtype)
    source = ((positions + 0.5) * (size / target) - 0.5).clamp(min=0)
    low = source.floor().long().clamp(max=size - 1)
    return low, (low + 1).clamp(max=size - 1), source - low
