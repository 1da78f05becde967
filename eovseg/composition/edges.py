"""Aligns mask logits with the photo's edges: the fast guided filter (He and Sun 2015, arXiv:1505.00996).

In a window around each cell at stride 4, a mask's logits are fitted as a linear function of the photo's colours. The
fit is then applied to the colours at network input size, so within a window a mask changes only where the photo does.
The fit is computed at stride 4, so its cost does not depend on the photo's original size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 2  # of a window, in cells at stride 4
SMOOTHNESS = 1e-4  # added to the variance of colours in 0..1; larger values ignore faint edges


def along_edges(mask_logits: Tensor, guide: Tensor) -> Tensor:
    """Mask logits at the size of `guide`: (n, h, w), (3, H, W) -> (n, H, W), where H / h = W / w is an integer.

    Windows are 2 `RADIUS` + 1 cells wide. In flat areas, the result is a blurred bilinear upsampling.
    """
    stride = guide.shape[-1] // mask_logits.shape[-1]
    colour = F.avg_pool2d(guide, stride)  # (3, h, w)
    mean_colour, mean_mask = _window_mean(colour), _window_mean(mask_logits)
    spread = _window_mean((colour[:, None] * colour).flatten(0, 1)).unflatten(0, (3, 3))
    spread -= mean_colour[:, None] * mean_colour
    spread = spread.permute(2, 3, 0, 1) + SMOOTHNESS * torch.eye(3).to(spread)  # (h, w, 3, 3)
    inverse = torch.linalg.inv(spread).permute(2, 3, 0, 1).contiguous()  # (3, 3, h, w)
    refined = mask_logits.new_empty((len(mask_logits), *guide.shape[1:]))
    for number, logits in enumerate(mask_logits):  # one mask at a time, to save memory
        both = _window_mean(colour * logits) - mean_colour * mean_mask[number]
        slope = (inverse * both).sum(1)  # (3, h, w)
        bias = mean_mask[number] - (slope * mean_colour).sum(0)
        fit = _window_mean(torch.cat([slope, bias[None]]))[None]
        fit = F.interpolate(fit, guide.shape[1:], mode="bilinear", align_corners=False)[0]
        refined[number] = (fit[:3] * guide).sum(0) + fit[3]
    return refined


def _window_mean(values: Tensor) -> Tensor:
    """Mean over the window around each cell, replicating border cells: (c, h, w) -> (c, h, w)."""
    padded = F.pad(values[None], (RADIUS,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * RADIUS + 1, stride=1)[0]
