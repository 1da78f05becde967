"""Instance masks, which may overlap, stored as run lengths within their boxes: kilobytes instead of megabytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union, overload

import numpy as np
import torch
from pycocotools import mask as coco_mask


@dataclass(frozen=True)
class MaskCrop:
    """One mask: box x0, y0, x1, y1 (exclusive ends), COCO's compressed run lengths within the box, area in pixels."""

    box: tuple[int, int, int, int]
    counts: bytes
    area: int

    @classmethod
    def of(cls, mask: np.ndarray | torch.Tensor, x: int = 0, y: int = 0) -> "MaskCrop":
        """Encodes a mask (h, w) bool whose upper left pixel is at (x, y) in the photo; the box is tight."""
        given = torch.as_tensor(mask)
        rows, columns = (given.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        if not rows:
            return cls((0, 0, 0, 0), b"", 0)
        tight = given[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        # COCO is column-major. torch transposes in blocks and is faster than numpy: 0.05 s vs. 0.5 s at 12 megapixels.
        encoded = coco_mask.encode(tight.T.contiguous().cpu().numpy().view(np.uint8).T)
        box = x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1
        return cls(box, encoded["counts"], int(coco_mask.area(encoded)))

    def pixels(self) -> np.ndarray:
        """(h, w) bool inside the box, in column-major order."""
        x0, y0, x1, y1 = self.box
        if not self.area:
            return np.zeros((y1 - y0, x1 - x0), dtype=bool, order="F")
        decoded: np.ndarray = coco_mask.decode({"size": [y1 - y0, x1 - x0], "counts": self.counts})
        return decoded.view(bool)


class InstanceMasks:
    """n masks of size (H, W) that behave like an array (n, H, W) of bool.

    `len`, `shape` and iteration work as for the array; `masks[i]` decodes one mask (H, W); a slice or a list of indices
    returns `InstanceMasks`; `np.asarray(masks)` decodes all masks to n x H x W bytes.
    """

    def __init__(self, size: tuple[int, int], crops: Sequence[MaskCrop]) -> None:
        self.size = size
        self.crops = tuple(crops)

    @classmethod
    def of(cls, masks: np.ndarray) -> "InstanceMasks":
        """Encodes an array (n, H, W) of bool."""
        return cls((masks.shape[1], masks.shape[2]), [MaskCrop.of(np.asarray(mask, dtype=bool)) for mask in masks])

    @property
    def shape(self) -> tuple[int, int, int]:
        """n, H, W."""
        return (len(self.crops), *self.size)

    def __len__(self) -> int:
        return len(self.crops)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice | Sequence[int] | np.ndarray) -> "InstanceMasks": ...
    def __getitem__(self, place: int | slice | Sequence[int] | np.ndarray) -> Union[np.ndarray, "InstanceMasks"]:
        if isinstance(place, tuple):
            raise TypeError("Index one mask first: masks[i][y, x].")
        if isinstance(place, np.ndarray) and place.dtype == bool:
            if len(place) != len(self):
                raise IndexError(f"A boolean index of length {len(place)} does not match {len(self)} masks.")
            place = np.flatnonzero(place)
        if isinstance(place, slice):
            return InstanceMasks(self.size, self.crops[place])
        if not isinstance(place, int | np.integer):
            return InstanceMasks(self.size, [self.crops[index] for index in place])
        crop = self.crops[place]
        mask = np.zeros(self.size, dtype=bool)
        x0, y0, x1, y1 = crop.box
        torch.from_numpy(mask)[y0:y1, x0:x1] = torch.from_numpy(crop.pixels())  # faster than numpy's copy
        return mask

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Instance masks are stored as run lengths, so an array of them is always a copy.")
        dense = np.zeros(self.shape, dtype=bool)
        for place in range(len(self)):
            dense[place] = self[place]
        return dense if dtype is None else dense.astype(dtype)

    def rle(self, place: int) -> dict[str, Any]:
        """COCO's compressed run lengths of one mask at photo size: {"size": [H, W], "counts": bytes}."""
        x0, y0, x1, y1 = self.crops[place].box
        mask = np.zeros(self.size, dtype=np.uint8, order="F")
        mask[y0:y1, x0:x1] = self.crops[place].pixels()
        encoded: dict[str, Any] = coco_mask.encode(mask)
        return encoded

    def painted(self) -> np.ndarray:
        """(H, W) int32: 1 + index of the first mask that covers a pixel, 0 = none."""
        columns = np.zeros(self.size[::-1], dtype=np.int32)  # (W, H), the crops' memory order
        for place in range(len(self) - 1, -1, -1):
            x0, y0, x1, y1 = self.crops[place].box
            np.copyto(columns[x0:x1, y0:y1], place + 1, where=self.crops[place].pixels().T)
        painted: np.ndarray = torch.from_numpy(columns).T.contiguous().numpy()
        return painted
