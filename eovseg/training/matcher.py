"""Bipartite matching of predicted and labelled segments (Carion et al. 2020; mask costs of Cheng et al. 2021)."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from eovseg.training.config import LossConfig

# Replaces non-finite costs, which scipy does not accept; such queries are matched last.
WORST_COST = 1e6

Match = tuple[Tensor, Tensor]  # query indices (ascending) and target indices, both long (m,)


@torch.no_grad()
def match(
    class_logits: Tensor,
    sampled: Tensor,
    labels: Sequence[Tensor],
    truth: Sequence[Tensor],
    weight: Tensor | None,
    config: LossConfig,
    repeats: int = 1,
) -> list[Match]:
    """Minimum-cost assignment of queries to the targets of each photo.

    class_logits (B, Q, K+1); mask logits `sampled` (B, Q, P) at P points shared by a photo's masks; per photo, labels
    (M,) and `truth` (M, P) float 0..1; weight (B, P) float, 0 at points to ignore (None: all are used). With `repeats`
    r, each target is matched to r queries (fewer if r·M exceeds Q).
    """
    batch, queries = class_logits.shape[:2]
    probabilities = class_logits.float().softmax(-1)
    matches = []
    for index in range(batch):
        count = labels[index].numel()
        if count == 0:
            empty = torch.empty(0, dtype=torch.long, device=class_logits.device)
            matches.append((empty, empty))
            continue
        target = truth[index]
        cost = config.mask_weight * _cross_entropy_cost(
            sampled[index], target, None if weight is None else weight[index]
        )
        cost += config.dice_weight * _dice_cost(sampled[index], target, None if weight is None else weight[index])
        cost -= config.class_weight * probabilities[index][:, labels[index]]  # (Q, M)
        cost = torch.nan_to_num(cost, nan=WORST_COST, posinf=WORST_COST, neginf=WORST_COST)
        times = max(1, min(repeats, queries // count))
        rows, columns = linear_sum_assignment(np.tile(cost.cpu().numpy(), (1, times)))
        matches.append(
            (
                torch.as_tensor(rows, dtype=torch.long, device=class_logits.device),
                torch.as_tensor(columns % count, dtype=torch.long, device=class_logits.device),
            )
        )
    return matches


def _cross_entropy_cost(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Mean sigmoid cross-entropy of every query (Q, P) with every target (M, P) -> (Q, M)."""
    absent = torch.nn.functional.softplus(logits)  # cross-entropy with 0; that with 1 is this minus the logit
    if weight is None:
        return (absent.sum(1, keepdim=True) - logits @ target.T) / logits.shape[1]
    return ((absent @ weight)[:, None] - (logits * weight) @ target.T) / weight.sum().clamp(min=1)


def _dice_cost(logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Soft dice distance of every query (Q, P) with every target (M, P) -> (Q, M)."""
    inside = logits.sigmoid()
    if weight is not None:
        inside, target = inside * weight, target * weight
    overlap = 2 * inside @ target.T
    return 1 - (overlap + 1) / (inside.sum(1)[:, None] + target.sum(1)[None] + 1)
