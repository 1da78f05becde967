"""Mask supervision at sampled points instead of every pixel (PointRend, Kirillov et al. 2020; Cheng et al. 2021).

Points are (x, y) in [0, 1]², independent of resolution; (0, 0) is the outer corner of the first pixel, so the centre of
pixel (i, j) is ((j + 0.5) / W, (i + 0.5) / H).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

PointSource = Callable[[Sequence[int], int], Tensor]
"""(rows per photo, points) -> (total rows, points, 2): uniform draws in [0, 1)²; tests replay recorded ones."""


def uniform_points(device: torch.device) -> PointSource:
    """A source that uses torch's global generator of `device`."""
    return lambda rows, points: torch.rand(sum(rows), points, 2, device=device)


def points_of_photos(generators: Sequence[torch.Generator]) -> PointSource:
    """A source with one generator per photo, so that draws do not depend on the other photos in the batch."""

    def draw(rows: Sequence[int], points: int) -> Tensor:
        pairs = zip(rows, generators, strict=True)
        return torch.cat([torch.rand(n, points, 2, generator=own, device=own.device) for n, own in pairs])

    return draw


def generator_of(device: torch.device | str, *key: int) -> torch.Generator:
    """A generator on `device` seeded by the non-negative integers `key`."""
    seed = np.random.SeedSequence(key).generate_state(1, np.uint32).item()
    return torch.Generator(device).manual_seed(seed)


def sample_at(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of `maps` (B, C, H, W) at `points` (B, P, 2) -> (B, C, P); outside the map counts as 0."""
    grid = (2 * points - 1).unsqueeze(1)  # (B, 1, P, 2)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False).squeeze(2)


def sample_rows(masks: Tensor, rows: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of `masks[rows[n]]` (masks (T, H, W) bool, rows (n,)) at `points` (n, P, 2) -> (n, P) float32.

    Equals `sample_at` of the masks as floats, without copying a full-size mask for every row.
    """
    height, width = masks.shape[-2:]
    x, y = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    flat, start = masks.flatten(), rows[:, None] * (height * width)
    values = torch.zeros_like(x)
    for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
        for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            values += share_x * share_y * (flat[start + place.long()] & inside)
    return values


def look_up(mask: Tensor, rows: Tensor, points: Tensor) -> Tensor:
    """The pixel of `mask[rows[n]]` (mask (B, H, W)) that contains each of `points` (n, P, 2) -> (n, P)."""
    height, width = mask.shape[-2:]
    x = (points[..., 0] * width).long().clamp(0, width - 1)
    y = (points[..., 1] * height).long().clamp(0, height - 1)
    return mask[rows[:, None], y, x]


@torch.no_grad()
def uncertain_points(
    mask_logits: Tensor,
    is_valid: Callable[[Tensor], Tensor] | None,
    points: int,
    oversample: float,
    importance: float,
    draw: PointSource,
    rows: Sequence[int],
) -> Tensor:
    """Points (n, P, 2) for `mask_logits` (n, h, w) with `rows` per photo, mostly where the prediction is uncertain.

    Of `oversample`·P random points, the `importance`·P with logits nearest to 0 are used; the rest are uniform.
    `is_valid` (points (n, P, 2) -> bool (n, P)) selects points that are preferred to all others.
    """
    candidates = draw(rows, int(points * oversample))
    uncertainty = -sample_at(mask_logits[:, None], candidates)[:, 0].abs()  # (n, 3P)
    if is_valid is not None:
        uncertainty = uncertainty.masked_fill(~is_valid(candidates), -torch.inf)
    kept = int(importance * points)
    best = uncertainty.topk(kept, dim=1).indices  # (n, 0.75P)
    chosen = candidates.gather(1, best[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, draw(rows, points - kept)], dim=1)
