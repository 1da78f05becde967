"""Finds the kernel that wins each pixel of a photo, without upsampling every kernel's mask to photo size.

A mask at photo size interpolates the mask at stride 4, so within a tile it is bounded by the few values that the tile
depends on. A kernel whose upper bound of score x probability is less than another kernel's lower bound cannot win the
tile. Few kernels remain, and only these are upsampled, tile by tile.
"""

import threading
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.composition.edges import along_edges
from eovseg.composition.geometry import MaskGeometry, bilinear_axis
from eovseg.instance_masks import MaskCrop

TILE = 16  # pixels a side
CHUNK_ELEMENTS = {"cpu": 2**20, "other": 2**25}  # mask values held at once


@dataclass(frozen=True)
class _Axis:
    """Interpolation along one axis: each pixel is a weighted mean of at most A adjacent mask values."""

    places: Tensor  # (T, A) long, indices of the mask values of a tile
    weights: Tensor  # (T, TILE, A), non-negative, rows sum to 1
    inside: Tensor  # (T, TILE) bool, False beyond the photo's border

    @classmethod
    def of(cls, source: int, padded: int, size: int, target: int, like: Tensor) -> "_Axis":
        """`source` mask values are upsampled to `padded` pixels, cropped to `size` and resized to `target`."""
        identity = torch.eye(source, dtype=like.dtype, device=like.device)[None]
        matrix = F.interpolate(identity, padded, mode="linear", align_corners=False)[0].T[:size]  # (size, source)
        if target != size:
            low, high, weight = bilinear_axis(size, target, 0, target, like)
            matrix = torch.lerp(matrix[low], matrix[high], weight[:, None])
        tiles = -(-target // TILE)
        rows = torch.arange(tiles * TILE, device=like.device)
        matrix = matrix[rows.clamp(max=target - 1)].unflatten(0, (tiles, TILE))
        used = (matrix > 0).any(1).int()  # (T, source)
        first, last = used.argmax(1), source - 1 - used.flip(1).argmax(1)
        width = int((last - first).max()) + 1
        places = first.clamp(max=source - width)[:, None] + torch.arange(width, device=like.device)
        weights = matrix.gather(2, places[:, None].expand(-1, TILE, -1))
        return cls(places, weights, (rows < target).unflatten(0, (tiles, TILE)))

    def extreme(self, masks: Tensor, largest: bool) -> Tensor:
        """Maximum or minimum of the mask values of each tile: (Q, values, other axis) -> (Q, T, other axis)."""
        take = torch.maximum if largest else torch.minimum
        found = masks.index_select(1, self.places[:, 0])
        for column in self.places.T[1:]:
            found = take(found, masks.index_select(1, column))
        return found


class TiledMasks:
    """The masks of one photo, divided into tiles at output size.

    Bounds and areas are cached, because they do not depend on scores, thresholds or classes.
    """

    def __init__(self, mask_logits: Tensor, geometry: MaskGeometry) -> None:
        """`mask_logits` (Q, h, w) of one photo, float32 or wider."""
        self.mask_logits = mask_logits
        self.geometry = geometry
        self.instances: dict[int, tuple[MaskCrop, Tensor]] = {}  # cache: query -> mask and its mean probability
        self._areas: dict[int, int] = {}
        self._lock = threading.Lock()  # threads may share one photo

    # The following properties are used for panoptic results only.
    @cached_property
    def _rows(self) -> _Axis:
        return self._axis(0)

    @cached_property
    def _columns(self) -> _Axis:
        return self._axis(1)

    def _axis(self, axis: int) -> _Axis:
        padded, size, target = (
            length[axis] for length in (self.geometry.padded_size, self.geometry.input_size, self.geometry.output_size)
        )
        return _Axis.of(self.mask_logits.shape[axis - 2], padded, size, target, self.mask_logits)

    @cached_property
    def _across(self) -> int:
        return len(self._columns.places)

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bound of each mask's probability in each tile, both (Q, T)."""
        bounds = []
        for largest in (False, True):
            logits = self._rows.extreme(self.mask_logits, largest)  # (Q, T_y, w)
            # Transposed, so that both axes gather contiguous rows.
            logits = self._columns.extreme(logits.mT.contiguous(), largest).mT.flatten(1)
            slack = 8 * torch.finfo(logits.dtype).eps * logits.abs()  # upper bound of the rounding error
            bounds.append((logits + slack if largest else logits - slack).sigmoid())
        return bounds[0], bounds[1]

    def along_edges(self, queries: Tensor, guide: Tensor) -> "TiledMasks":
        """The masks of `queries` (n,), aligned with the edges of `guide`, the photo (3, H, W) at input size in 0..1.

        Stores n x H x W values, independent of the photo's original size.
        """
        down, right = (padded - given for padded, given in zip(self.geometry.padded_size, guide.shape[1:], strict=True))
        padded_guide = F.pad(guide[None], (0, right, 0, down), mode="replicate")[0]
        return TiledMasks(along_edges(self.mask_logits[queries], padded_guide), self.geometry)

    def cells(self, queries: Tensor) -> Tensor:
        """Mask probabilities (n, h, w) of `queries` (n,) at mask stride, without padding."""
        height, width = (
            -(-length * cells // padded)
            for length, cells, padded in zip(
                self.geometry.input_size, self.mask_logits.shape[-2:], self.geometry.padded_size, strict=True
            )
        )
        return self.mask_logits[queries, :height, :width].sigmoid()

    def compete(self, queries: Tensor, scores: Tensor, hard: float = 0.5) -> Tensor:
        """The winner of every pixel among n kernels, encoded as 2 x its index in `queries`, + 1 inside its hard mask.

        `queries` (n,) long, n < 2^14; `scores` (n,), non-negative, in the masks' dtype -> (H, W) int16. The highest
        score x probability wins, the first one in a tie. The hard mask is where the probability is at least `hard`.
        """
        lowest, highest = (bound[queries] * scores[:, None] for bound in self._bounds)
        rivals = highest >= lowest.amax(0)  # (n, T)
        counts = rivals.sum(0)
        order = counts.argsort(descending=True, stable=True)  # tiles with the most rivals first
        code = torch.empty((len(order), TILE * TILE), dtype=torch.int16, device=order.device)
        step = self._tiles_at_once()
        for start in range(0, len(order), step):
            tiles = order[start : start + step]
            code[tiles] = self._compete_in(tiles, rivals[:, tiles], queries, scores, hard)
        height, width = self.geometry.output_size
        return code.view(-1, self._across, TILE, TILE).transpose(1, 2).flatten(2).flatten(0, 1)[:height, :width]

    def _compete_in(self, tiles: Tensor, rivals: Tensor, queries: Tensor, scores: Tensor, hard: float) -> Tensor:
        """Encoded winners (t, TILE²) of `tiles` (t,), sorted by their number of `rivals` (n, t), most first."""
        tile, kernel = rivals.T.nonzero(as_tuple=True)  # by tile, then kernel
        counts = rivals.sum(0)
        rank = torch.arange(len(tile), device=tile.device) - (counts.cumsum(0) - counts)[tile]
        by_rank = rank.argsort(stable=True)
        best = code = torch.empty(0)
        start = 0
        for number, size in enumerate(torch.bincount(rank).tolist()):
            pairs = by_rank[start : start + size]  # the rival of this rank in each of the first `size` tiles
            start += size
            rival = kernel[pairs]
            probability = self._values(queries[rival], tiles[:size]).sigmoid_()
            own = (probability >= hard).short().add_(2 * rival.short()[:, None])
            value = probability.mul_(scores[rival, None])
            if number == 0:
                best, code = value, own
                continue
            torch.where(value > best[:size], own, code[:size], out=code[:size])
            torch.maximum(value, best[:size], out=best[:size])
        return code

    def _values(self, queries: Tensor, tiles: Tensor) -> Tensor:
        """Mask logits (P, TILE²) for pairs of `queries` and `tiles`, both (P,)."""
        down, across = tiles // self._across, tiles % self._across
        height, width = self.mask_logits.shape[-2:]
        rows = queries[:, None] * height + self._rows.places[down]  # (P, A)
        places = (rows * width)[:, :, None] + self._columns.places[across][:, None]  # (P, A, B)
        values = self.mask_logits.reshape(-1)[places]
        return (self._rows.weights[down] @ (values @ self._columns.weights[across].mT)).flatten(1)

    def areas(self, queries: Tensor) -> Tensor:
        """Area in pixels of each kernel's hard mask: `queries` (n,) long -> (n,) long."""
        with self._lock:
            wanted = queries.tolist()
            missing = [query for query in wanted if query not in self._areas]
            if missing:
                counted = self._count(torch.tensor(missing, device=queries.device))
                self._areas.update(zip(missing, counted.tolist(), strict=True))
            return torch.tensor([self._areas[query] for query in wanted], device=queries.device)

    def _count(self, queries: Tensor) -> Tensor:
        """Upsamples only tiles where a mask may cross 0.5; the others lie completely inside or outside."""
        sizes = (self._rows.inside.sum(1)[:, None] * self._columns.inside.sum(1)).flatten()  # (T,)
        lowest, highest = self._bounds
        full = lowest[queries] >= 0.5
        area = full.long() @ sizes if queries.device.type == "cpu" else (full * sizes).sum(1)
        kernel, tile = ((highest[queries] >= 0.5) & ~full).nonzero(as_tuple=True)
        for start in range(0, len(tile), self._tiles_at_once()):
            part = slice(start, start + self._tiles_at_once())
            down, across = tile[part] // self._across, tile[part] % self._across
            inside = self._rows.inside[down][:, :, None] & self._columns.inside[across][:, None]
            hard = self._values(queries[kernel[part]], tile[part]).sigmoid_() >= 0.5
            area.index_add_(0, kernel[part], (hard & inside.flatten(1)).sum(1))
        return area

    def _tiles_at_once(self) -> int:
        kind = self.mask_logits.device.type
        return CHUNK_ELEMENTS.get(kind, CHUNK_ELEMENTS["other"]) // TILE**2
