"""Mask pooling whose sums can be reused and do not overflow in float16."""

from dataclasses import dataclass

import torch
from torch import Tensor

from eovseg.model.classifier import hard_masks, sum_inside


@dataclass
class Pooled:
    """Features inside masks: the hard masks (B, Q, h, w), and the sum and mean (B, Q, C) inside them."""

    masks: Tensor
    total: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean inside each mask (B, Q, C); zeros for an empty mask."""
        area = self.masks.sum(dim=(-1, -2)).unsqueeze(-1) + 1e-8
        return self.total / area.to(self.total.dtype)


def pool(features: Tensor, mask_logits: Tensor, known: Tensor | None = None) -> Pooled:
    """Pools (B, C, h, w) where mask logits (B, Q, h', w') are above 0; `known` are hard masks of the features' size.

    Computed in float32 instead of float16, where a sum over a photo's pixels could overflow.
    """
    if uses_float16(features):
        with torch.autocast(features.device.type, enabled=False):
            return pool(features.float(), mask_logits.float(), known)
    masks = hard_masks(mask_logits, features) if known is None else known.to(features.dtype)
    return Pooled(masks, sum_inside(features, masks))


def uses_float16(features: Tensor) -> bool:
    """Whether a product with `features` would be float16."""
    kind = features.device.type
    autocast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
    return autocast or features.dtype == torch.float16
