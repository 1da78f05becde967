"""Training only: makes pixels of a segment similar in F_agg, and dissimilar to those of other segments of the photo.

A mask is the dot product of an object kernel with the pixels, and the kernel is computed from the pixels inside its
previous mask, so masks can only separate objects that the features separate. The loss is the softmax cross-entropy of
each pixel over the mean features of all segments (after De Brabandere et al. 2017 and Wang et al. 2021, with cosines).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eovseg.training.config import LossConfig
from eovseg.training.losses import TargetLike


def instance_loss(
    features: Tensor, targets: Sequence[TargetLike], config: LossConfig, generators: Sequence[torch.Generator]
) -> Tensor:
    """Mean over photos of the mean over their segments, a scalar; photos with fewer than two candidates count as 0.

    features (B, C, h, w) at stride 4; one generator per photo, on the same device. Every segment contributes
    `config.instance_pixels` random cells; the same number of valid cells outside all segments are additional negative
    candidates.
    """
    photos = zip(features, targets, generators, strict=True)
    return torch.stack([_photo_loss(image, target, config, own) for image, target, own in photos]).mean()


def _photo_loss(features: Tensor, target: TargetLike, config: LossConfig, generator: torch.Generator) -> Tensor:
    height, width = features.shape[-2:]
    masks, valid = (_cells(m, height, width).to(features.device) for m in (target.masks, target.valid[None]))
    masks = masks[masks.any(1)]  # (M, hw)
    outside = torch.nonzero(valid[0] & ~masks.any(0))[:, 0] if len(masks) else masks.new_empty(0, dtype=torch.long)
    if len(masks) + (len(outside) > 0) < 2:
        return features.sum() * 0
    pixels = F.normalize(features.permute(1, 2, 0).reshape(height * width, -1).float(), dim=-1)  # (hw, C)
    share = masks.float() / masks.sum(1, keepdim=True)
    means = F.normalize(share @ pixels, dim=-1)  # (M, C)
    outside = outside[_draw(len(outside), config, generator)] if len(outside) else outside
    candidates = torch.cat([means, pixels[outside]])
    drawn = torch.multinomial(share, config.instance_pixels, replacement=True, generator=generator)  # (M, P)
    scores = pixels[drawn] @ candidates.T / config.instance_temperature  # (M, P, M + U)
    wanted = torch.arange(len(masks), device=features.device)[:, None].expand_as(drawn)
    return F.cross_entropy(scores.flatten(0, 1), wanted.flatten())


def _draw(count: int, config: LossConfig, generator: torch.Generator) -> Tensor:
    return torch.randint(count, (config.instance_pixels,), generator=generator, device=generator.device)


def _cells(masks: Tensor, height: int, width: int) -> Tensor:
    """Samples masks (M, H, W) at the centre of each cell at stride 4 -> (M, h·w) bool."""
    right, bottom = max(0, 4 * width - masks.shape[-1]), max(0, 4 * height - masks.shape[-2])
    return F.pad(masks, (0, right, 0, bottom))[:, 2::4, 2::4].flatten(1)
