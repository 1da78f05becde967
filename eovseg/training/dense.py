"""Training only: cross-entropy of VAS's word similarity (Eq. 3) at labelled pixels: words find their pixels early."""

import torch
import torch.nn.functional as F
from torch import Tensor

from eovseg.training.config import LossConfig


def dense_word_loss(
    word_similarity: Tensor, class_index: Tensor, semantic: Tensor, known_classes: Tensor, config: LossConfig
) -> Tensor:
    """Mean cross-entropy over at most `config.dense_pixels` labelled pixels per photo, a scalar.

    word_similarity (B, N+1, h, w), the void row last (unused); class_index (N,) class of each row;
    semantic (B, H, W) class per pixel or -1, read at the centre of each cell; known_classes (B, K) bool.
    A class scores the best (or the log-sum-exp) of its rows; classes unknown to a photo do not compete.
    """
    words, classes = class_index.numel(), known_classes.shape[1]
    class_index, known_classes = class_index.to(word_similarity.device), known_classes.to(word_similarity.device)
    wanted = _at_cell_centres(semantic.to(word_similarity.device), word_similarity.shape[-2:]).flatten(1)  # (B, hw)
    known = torch.cat([known_classes, known_classes.new_zeros(len(wanted), 1)], dim=1)  # -1 reads the last column
    wanted = wanted.masked_fill(~known.gather(1, wanted % (classes + 1)), -1)
    # A photo without any known class has no labelled cell either; unmasked, its softmax stays finite.
    known_classes = known_classes | ~known_classes.any(1, keepdim=True)
    pixels = _choose_pixels(wanted, classes, config)  # (B, p)
    labels = wanted.gather(1, pixels)
    rows = word_similarity.flatten(2).gather(2, pixels[:, None].expand(-1, words, -1)).float()  # (B, N, p)
    scores = _per_class(rows, class_index, classes, config.dense_reduction)  # (B, K, p)
    scores = scores.masked_fill(~known_classes[:, :, None], -torch.inf)
    # A photo with fewer labelled cells than wanted fills up with unlabelled ones, which are left out here.
    return F.cross_entropy(scores, labels, reduction="sum", ignore_index=-1) / (labels >= 0).sum().clamp(min=1)


def _at_cell_centres(semantic: Tensor, grid: torch.Size) -> Tensor:
    """Nearest reading of (B, H, W) at the masks' grid, a quarter of the padded photo -> (B, h, w)."""
    height, width = semantic.shape[-2:]
    padded = F.pad(semantic, (0, max(0, 4 * grid[1] - width), 0, max(0, 4 * grid[0] - height)), value=-1)
    return padded[:, 2::4, 2::4]


def _choose_pixels(wanted: Tensor, classes: int, config: LossConfig) -> Tensor:
    """`dense_pixels` cells of each row of `wanted` (B, hw), labelled ones first -> indices (B, p)."""
    # Exponential race: a cell of weight w draws -log(u) / w and the smallest win; w = 1/√(cells of its class) or 1.
    time = -torch.rand(wanted.shape, device=wanted.device).clamp(min=1e-12).log()
    if config.dense_balanced:
        cells = torch.zeros(len(wanted), classes + 1, device=wanted.device)  # column 0 counts unlabelled cells
        cells.scatter_add_(1, wanted + 1, torch.ones_like(time))
        time = time * cells.gather(1, wanted + 1).sqrt()
    time = time.masked_fill(wanted < 0, torch.inf)
    return time.topk(min(config.dense_pixels, wanted.shape[1]), largest=False).indices


def _per_class(rows: Tensor, class_index: Tensor, classes: int, reduction: str) -> Tensor:
    """Scores (B, N, p) of word rows -> (B, K, p) of classes; a class without a row gets -inf."""
    where = class_index[:, None].expand_as(rows)
    shape = rows.shape[0], classes, rows.shape[2]
    best = rows.new_full(shape, -torch.inf).scatter_reduce(1, where, rows, "amax")
    if reduction == "max":
        return best
    shift = best.detach().clamp(min=torch.finfo(rows.dtype).min)
    return rows.new_zeros(shape).scatter_add(1, where, (rows - shift[:, class_index]).exp()).log() + shift
