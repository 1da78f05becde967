"""Mask-piloted queries (training only; Zhang et al., MP-Former, 2023).

Extra queries start from noised ground-truth masks and have a known target, so the decoder's later layers learn to
refine masks before the kernels can find any. They are not used at inference.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from eovseg.training.losses import TargetLike

# The decoder uses only the sign (sigmoid > 0.5); the magnitude makes soft masks confident.
PILOT_LOGIT = 5.0


@torch.no_grad()
def make_mask_pilots(
    targets: Sequence[TargetLike], pilots: int, shape: tuple[int, int], generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Initial mask logits (B, P, h, w) of `pilots` extra queries and their targets (B, P) long, -1 for none.

    `shape` (h, w) is the mask grid, a quarter of the padded photo. If a photo has fewer targets than pilots, they are
    repeated with different noise; a photo without targets has no pilots (negative logits, -1). `generator` must be on
    the CPU.
    """
    device = targets[0].masks.device
    assignment = torch.full((len(targets), pilots), -1)
    clean = torch.zeros(len(targets), pilots, *shape, device=device)
    for index, target in enumerate(targets):
        count = target.labels.numel()
        if count == 0:
            continue
        rounds = [torch.randperm(count, generator=generator) for _ in range(-(-pilots // count))]
        chosen = torch.cat(rounds)[:pilots]
        assignment[index] = chosen
        clean[index] = _to_grid(target.masks, shape)[chosen.to(device)]
    noised = _noise(clean.flatten(0, 1), generator).unflatten(0, (len(targets), pilots))
    assignment = assignment.to(device)
    noised &= (assignment >= 0)[..., None, None]
    return torch.where(noised, PILOT_LOGIT, -PILOT_LOGIT), assignment


def _to_grid(masks: Tensor, shape: tuple[int, int]) -> Tensor:
    """Masks (M, H, W) bool at stride 4 (M, h, w) float 0/1; a mask too thin for that includes all cells it touches."""
    height, width = masks.shape[-2:]
    padded = F.pad(masks.float(), (0, max(0, 4 * shape[1] - width), 0, max(0, 4 * shape[0] - height)))
    share = F.avg_pool2d(padded, 4)
    half = share > 0.5
    return torch.where(half.flatten(1).any(1)[:, None, None], half, share > 0).float()


def _noise(masks: Tensor, generator: torch.Generator | None) -> Tensor:
    """Masks (n, h, w) float 0/1 shifted by up to 20 % of their size, dilated or eroded by 2 cells, speckled -> bool."""
    count, device = len(masks), masks.device
    if count == 0:
        return masks.bool()
    amount = torch.rand(count, 4, generator=generator).to(device)
    # Shift in proportion to the object's size.
    size = masks.flatten(1).mean(1).sqrt()
    identity = torch.eye(2, 3, device=device).repeat(count, 1, 1)
    identity[:, :, 2] = (amount[:, :2] - 0.5) * 0.8 * size[:, None]
    grid = F.affine_grid(identity, [count, 1, *masks.shape[-2:]], align_corners=False)
    moved = F.grid_sample(masks[:, None], grid, mode="nearest", align_corners=False)
    # Dilate or erode by up to 15 % of the object's side, so that small objects do not vanish.
    cells = (0.15 * masks.flatten(1).sum(1).sqrt()).clamp(max=2.49)
    radius = ((2 * amount[:, 2] - 1) * cells).round().long()  # -2 … 2
    for steps in (1, 2):
        grow, shrink = radius >= steps, radius <= -steps
        moved[grow] = F.max_pool2d(moved[grow], 3, 1, 1)
        moved[shrink] = -F.max_pool2d(-moved[shrink], 3, 1, 1)
    # Speckle only half of the masks; the others train the layers to keep good masks.
    rate = (amount[:, 3] - 0.5).clamp(min=0) * 0.4
    flips = torch.rand(moved.shape, generator=generator).to(device) < rate[:, None, None, None]
    return (moved.bool() ^ flips)[:, 0]
