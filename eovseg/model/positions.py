"""Position encodings of a map: x from left to right and y from top to bottom, both from -1 to 1."""

import math

import torch
from torch import Tensor


def coordinates(like: Tensor) -> Tensor:
    """x and y of each cell of a map `like` (..., h, w): (2, h, w), float32 or wider."""
    height, width = like.shape[-2], like.shape[-1]
    wide = torch.promote_types(like.dtype, torch.float32)

    def axis(cells: int) -> Tensor:
        places = torch.arange(cells, device=like.device, dtype=wide)  # linspace would fix the size in an exported file
        return 2 * places / places[-1:].clamp(min=1) - 1

    return torch.stack([axis(width).expand(height, width), axis(height)[:, None].expand(height, width)])


def position_terms(like: Tensor) -> Tensor:
    """1, x, y, x², y² and xy at each cell of a map `like` (..., h, w): (6, h, w)."""
    x, y = coordinates(like)
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y]).to(like.dtype)


def position_waves(like: Tensor) -> Tensor:
    """Sine and cosine of x and y at each cell of a map `like` (..., h, w), with 1 to 16 periods: (20, h, w)."""
    periods = math.pi * 2 ** torch.arange(5, device=like.device)[:, None, None]
    waves = [wave(axis * periods) for axis in coordinates(like) for wave in (torch.sin, torch.cos)]
    return torch.cat(waves).to(like.dtype)
