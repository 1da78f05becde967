"""Mask logits that follow the photo's edges: a fast guided filter (He and Sun 2015, arXiv:1505.00996).

Around every cell at stride 4, a mask's logits are fitted as a linear function of the photo's colours. Colours at full
network size then give logits there: inside a window, a mask can change only where the photo does. The fits have the
size of the masks at stride 4, so the photo's own size costs nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 2  # of a window, in cells of stride 4
SMOOTHNESS = 1e-4  # added to the variance of colours in 0..1; larger: fainter edges are ignored


def along_edges(mask_logits: Tensor, guide: Tensor, radius: int = RADIUS, smoothness: float = SMOOTHNESS) -> Tensor:
    """Masks at the size of the photo that guides them: (n, h, w), (3, H, W) -> (n, H, W), H / h = W / w whole.

    Windows have 2 `radius` + 1 cells a side. Where the photo is flat, the result is a blurred bilinear upsampling.
    """
    stride = guide.shape[-1] // mask_logits.shape[-1]
    colour = F.avg_pool2d(guide, stride)  # (3, h, w)
    mean_colour, mean_mask = _window_mean(colour, radius), _window_mean(mask_logits, radius)
    spread = _window_mean((colour[:, None] * colour).flatten(0, 1), radius).unflatten(0, (3, 3))
    spread -= mean_colour[:, None] * mean_colour
    spread = spread.permute(2, 3, 0, 1) + smoothness * torch.eye(3).to(spread)  # (h, w, 3, 3)
    inverse = torch.linalg.inv(spread).permute(2, 3, 0, 1).contiguous()  # (3, 3, h, w)
    refined = mask_logits.new_empty((len(mask_logits), *guide.shape[1:]))
    for number, logits in enumerate(mask_logits):  # one at a time: four maps of a mask are small, those of all are not
        both = _window_mean(colour * logits, radius) - mean_colour * mean_mask[number]
        slope = (inverse * both).sum(1)  # (3, h, w)
        bias = mean_mask[number] - (slope * mean_colour).sum(0)
        fit = _window_mean(torch.cat([slope, bias[None]]), radius)[None]
        fit = F.interpolate(fit, guide.shape[1:], mode="bilinear", align_corners=False)[0]
        refined[number] = (fit[:3] * guide).sum(0) + fit[3]
    return refined


def _window_mean(values: Tensor, radius: int) -> Tensor:
    """Mean over the window of every cell, the border cells repeated outwards: (c, h, w) -> (c, h, w)."""
    padded = F.pad(values[None], (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, stride=1)[0]
