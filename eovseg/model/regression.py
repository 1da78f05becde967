"""Mask regression: refits masks on the features of their photo (XS only; not in the paper).

A linear classifier on F_agg that is fitted to a true mask separates nearly every segment from the rest of the photo,
but the decoder predicts a mask kernel without access to that rest. Therefore, each layer's masks are fitted by ridge
regression on F_agg of the same photo, in closed form, and averaged with the fit: cells with similar features are added
to the mask, cells with different features are removed.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from eovseg.model.positions import position_terms

RIDGE = 0.1  # relative to the variance of a feature
_STEPS = 18  # Newton steps, each of which squares the error; ONNX has no operator for a linear system


@dataclass(frozen=True, eq=False)
class MaskRegression:
    """Fits masks on the features of one batch of photos.

    Each pixel's features are centred over the photo and scaled to unit length, and the quadratic position terms are
    added, so that the fit does not depend on F_agg's scale.
    """

    columns: Tensor  # the regressors (B, P, h * w)
    inverse: Tensor  # of their regularised covariance (B, P, P)

    @classmethod
    def on(cls, features: Tensor) -> Self:
        """The regression on F_agg (B, C, h, w)."""
        with torch.autocast(features.device.type, enabled=False):
            pixels = features.to(torch.promote_types(features.dtype, torch.float32)).flatten(2)  # (B, C, n)
            pixels = pixels - pixels.mean(-1, keepdim=True)
            pixels = pixels / pixels.norm(dim=1, keepdim=True).clamp(min=1e-6)
            places = position_terms(features).to(pixels).flatten(1)[1:].expand(len(pixels), -1, -1)  # (B, 5, n)
            columns = torch.cat([pixels, places], dim=1)
            columns = columns - columns.mean(-1, keepdim=True)
            columns = columns / columns.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
            gram = columns @ columns.mT / columns.shape[-1]  # (B, P, P)
            return cls(columns, _inverse(gram + RIDGE * torch.eye(gram.shape[-1]).to(gram)))

    def __call__(self, mask_logits: Tensor) -> Tensor:
        """Mean of the mask logits (B, Q, h, w) and their fit, which has the same area and mean magnitude."""
        with torch.autocast(mask_logits.device.type, enabled=False):
            given = mask_logits.to(self.columns.dtype).flatten(2)  # (B, Q, n)
            cells = given.shape[-1]
            weights = self.inverse @ (self.columns @ given.sigmoid().mT) / cells  # (B, P, Q)
            fitted = weights.mT @ self.columns
            fitted = fitted - self.threshold(fitted.detach(), (given.detach() > 0).sum(-1, keepdim=True))
            scale = given.abs().mean(-1, keepdim=True) / fitted.abs().mean(-1, keepdim=True).clamp(min=1e-6)
            return ((given + scale.detach() * fitted) / 2).view(mask_logits.shape).to(mask_logits.dtype)

    @staticmethod
    def threshold(values: Tensor, count: Tensor) -> Tensor:
        """The value (B, Q, 1) that `count` (B, Q, 1) of the values (B, Q, n) exceed, fewer if some are equal."""
        return at_count(values.sort(-1).values, count)


def _inverse(matrices: Tensor) -> Tensor:
    """The inverses of symmetric matrices (B, P, P), eigenvalues at least RIDGE, by the Newton–Schulz iteration.

    Its last step alone has the gradient of the inverse; through all steps, gradients would become subnormal and slow.
    """
    unit = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    with torch.no_grad():
        inverse = unit / matrices.abs().sum(-1).amax(-1)[:, None, None]  # at least the largest eigenvalue
        for _ in range(_STEPS - 1):
            inverse = inverse @ (2 * unit - matrices @ inverse)
    return inverse @ (2 * unit - matrices @ inverse)


def at_count(ascending: Tensor, count: Tensor) -> Tensor:
    """The entry (B, Q, 1) of sorted values (B, Q, n) after which `count` (B, Q, 1) others follow, or else the first."""
    return ascending.gather(-1, (ascending.shape[-1] - 1 - count).clamp(min=0))
