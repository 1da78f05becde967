"""Class scores: mask pooling, cosine logits and the ensemble of two classifiers (paper Eq. 11, App. B, Table 10).

Both classifiers are cosines, `classification_logits`: the in-vocabulary one of the class embeddings of each decoder
layer, the out-of-vocabulary one (`EOVSeg.out_of_vocabulary_logits`) of masks that the frozen image encoder's head pools
(`embed_masks` in `eovseg.model.backbones`).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.errors import ConfigError
from eovseg.model.config import Ensemble
from eovseg.model.values import Logits

MAX_LOGIT_SCALE = 100.0  # upper bound of exp(logit_scale)


def pool_by_masks(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Mean of the features where a mask's logit is positive: (B, C, h, w), (B, Q, h', w') -> (B, Q, C).

    Masks are first resized bilinearly to the features' size; an empty mask yields zeros.
    """
    masks = hard_masks(mask_logits, features)
    return sum_inside(features, masks) / (masks.sum(dim=(-1, -2)).unsqueeze(-1) + 1e-8)


def pool_by_cover(features: Tensor, mask_logits: Tensor) -> Tensor:
    """Like `pool_by_masks`, but a mask that is empty at the features' size is averaged over the cells that it touches.

    Each cell is weighted by the share that the mask covers. h' and w' must be the same multiple of h and w.
    """
    masks = hard_masks(mask_logits, features)
    shares = F.avg_pool2d((mask_logits > 0).to(features.dtype), mask_logits.shape[-1] // features.shape[-1])
    masks = torch.where((masks > 0).flatten(2).any(-1)[..., None, None], masks, shares)
    return sum_inside(features, masks) / (masks.sum(dim=(-1, -2)).unsqueeze(-1) + 1e-8)


def hard_masks(mask_logits: Tensor, features: Tensor) -> Tensor:
    """Binary masks (logit > 0, i.e. sigmoid > 0.5) at the features' size: (B, Q, h', w') -> (B, Q, h, w)."""
    return (resize_masks(mask_logits, features.shape[-2:]) > 0).to(features.dtype)


def sum_inside(features: Tensor, masks: Tensor) -> Tensor:
    """Sum of the features (B, C, h, w) inside hard masks (B, Q, h, w) -> (B, Q, C)."""
    return torch.einsum("bqhw,bchw->bqc", masks, features)


def resize_masks(mask_logits: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Mask logits (B, Q, h, w) resized bilinearly; a no-op if the size is the same."""
    if mask_logits.shape[-2:] == tuple(size):
        return mask_logits
    return F.interpolate(mask_logits, size, mode="bilinear", align_corners=False)


def classification_logits(
    embeddings: Tensor, text: Tensor, class_index: Tensor, logit_scale: Tensor, classes: int
) -> Tensor:
    """min(exp(logit_scale), 100) * cosine, max over the words of each class: (B, Q, D), (N, D) -> (B, Q, classes).

    `class_index` (N,) is the class of each unit row of `text`, ascending; every class needs at least one row.
    """
    scale = logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
    return class_maximum(scale * F.normalize(embeddings, dim=-1) @ text.to(embeddings.dtype).T, class_index, classes)


def class_maximum(rows: Tensor, class_index: Tensor, classes: int) -> Tensor:
    """Maximum over the words of each class, which `class_index` (N,) names: (..., N) -> (..., classes)."""
    if classes == class_index.shape[0]:
        return rows
    found = rows.new_full((*rows.shape[:-1], classes), -torch.inf)
    return found.scatter_reduce(-1, class_index.expand_as(rows), rows, "amax", include_self=False)


def class_log_probabilities(
    logits: Logits, seen: Tensor, alpha: float = 0.4, beta: float = 0.8, ensemble: Ensemble = "geometric"
) -> Tensor:
    """Ensemble (Eq. 11): class log-probabilities (B, Q, K+1), void last, of the last layer and the image encoder.

    `seen` (K,) bool: the class shares a word with the training vocabulary. The image encoder's weight a is `alpha` for
    seen classes and `beta` for all others (both 0..1). Geometric: p_in^(1-a) * p_out^a; arithmetic: (1-a) * p_in +
    a * p_out; then renormalised and multiplied by 1 - p_void. For a mask that covers no cell of the image encoder's
    grid (`logits.valid_masks` False), only the in-vocabulary probability is used.
    """
    if ensemble not in ("geometric", "arithmetic"):
        raise ConfigError(f"ensemble={ensemble!r} is not allowed; choose geometric or arithmetic.")
    inside, outside = in_and_out_log_probabilities(logits)
    weight = torch.where(seen, inside.new_tensor(alpha), inside.new_tensor(beta))  # (K,)
    weight = weight * logits.valid_masks.unsqueeze(-1).to(inside.dtype)  # (B, Q, K)
    if ensemble == "geometric":
        # The released code multiplies the logarithm of underflowed probabilities by 0, which is NaN. log-softmax does
        # not underflow, so this is always finite, and otherwise equal.
        mixed = (1 - weight) * inside + weight * outside
    else:
        mixed = torch.log((1 - weight) * inside.exp() + weight * outside.exp() + torch.finfo(inside.dtype).tiny)
    void = logits.class_logits[-1].to(inside.dtype).softmax(-1)[..., -1:]
    return torch.log(torch.cat([mixed.softmax(-1) * (1 - void), void], dim=-1) + 1e-8)


def in_and_out_log_probabilities(logits: Logits) -> tuple[Tensor, Tensor]:
    """log p_in and log p_out over the classes without void, each (B, Q, K)."""
    final = logits.class_logits[-1]
    wide = torch.promote_types(final.dtype, torch.float32)
    inside = final[..., :-1].to(wide).log_softmax(-1)
    outside = logits.out_of_vocabulary_logits[..., :-1].to(wide).log_softmax(-1)
    return inside, outside
