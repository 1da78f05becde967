"""Training only: cross-entropy of VAS's word similarity (Eq. 3) at labelled pixels, for faster convergence of VAS."""

import torch
import torch.nn.functional as F
from torch import Tensor

from eovseg import distributed
from eovseg.training.config import LossConfig
from eovseg.training.points import PointSource, uniform_points


def dense_word_loss(
    pixel_embeddings: Tensor,
    word_rows: Tensor,
    class_index: Tensor,
    semantic: Tensor,
    known_classes: Tensor,
    config: LossConfig,
    draw: PointSource | None = None,
) -> Tensor:
    """Mean cross-entropy over at most `config.dense_pixels` labelled pixels per photo, a scalar.

    The similarities are the products of pixel_embeddings (B, D, h, w) and word_rows (N+1, D), the last of which, void,
    is unused; class_index (N,) class of each row; semantic (B, H, W) class per pixel or -1, sampled at the centre of
    each cell; known_classes (B, K) bool. The score of a class is the maximum over its rows; classes unknown to a photo
    do not compete.
    """
    device, classes = pixel_embeddings.device, known_classes.shape[1]
    class_index, known_classes = class_index.to(device), known_classes.to(device)
    wanted = _at_cell_centres(semantic.to(device), pixel_embeddings.shape[-2:]).flatten(1)  # (B, hw)
    known = torch.cat([known_classes, known_classes.new_zeros(len(wanted), 1)], dim=1)  # -1 reads the last column
    wanted = wanted.masked_fill(~known.gather(1, wanted % (classes + 1)), -1)
    # A photo without known classes has no labelled cells; unmasking its classes keeps the softmax finite.
    known_classes = known_classes | ~known_classes.any(1, keepdim=True)
    pixels = _choose_pixels(wanted, classes, config, draw or uniform_points(device))  # (B, p)
    labels = wanted.gather(1, pixels)
    rows = pixel_embeddings.permute(0, 2, 3, 1).flatten(0, 2)  # (B·hw, D): a view in channels-last format
    first = torch.arange(len(wanted), device=device)[:, None] * wanted.shape[1]
    chosen = rows.index_select(0, (pixels + first).flatten()).unflatten(0, pixels.shape).float()  # (B, p, D)
    similarity = torch.einsum("bpd,nd->bnp", chosen, word_rows[: class_index.numel()].float())  # (B, N, p)
    scores = _per_class(similarity, class_index, classes)  # (B, K, p)
    scores = scores.masked_fill(~known_classes[:, :, None], -torch.inf)
    # If a photo has too few labelled cells, unlabelled ones were drawn too, which are ignored here.
    cross_entropy = F.cross_entropy(scores, labels, reduction="sum", ignore_index=-1)
    return cross_entropy / distributed.divisor_per_process((labels >= 0).sum().float(), 1)


def _at_cell_centres(semantic: Tensor, grid: torch.Size) -> Tensor:
    """Samples (B, H, W) at the centres of the mask grid, at a quarter of the padded size -> (B, h, w)."""
    height, width = semantic.shape[-2:]
    padded = F.pad(semantic, (0, max(0, 4 * grid[1] - width), 0, max(0, 4 * grid[0] - height)), value=-1)
    return padded[:, 2::4, 2::4]


def _choose_pixels(wanted: Tensor, classes: int, config: LossConfig, draw: PointSource) -> Tensor:
    """Draws `dense_pixels` cells of each row of `wanted` (B, hw), preferring labelled ones -> indices (B, p)."""
    # Exponential race: a cell with weight w draws -log(u) / w, and the smallest win; w = 1/√(cells of its class).
    cells = wanted.shape[1]
    uniform = draw([1] * len(wanted), -(-cells // 2)).flatten(1)[:, :cells]  # two numbers per point
    time = -uniform.clamp(min=1e-12).log()
    sizes = torch.zeros(len(wanted), classes + 1, device=wanted.device)  # column 0 counts unlabelled cells
    sizes.scatter_add_(1, wanted + 1, torch.ones_like(time))
    time = time * sizes.gather(1, wanted + 1).sqrt()
    time = time.masked_fill(wanted < 0, torch.inf)
    return time.topk(min(config.dense_pixels, cells), largest=False).indices


def _per_class(rows: Tensor, class_index: Tensor, classes: int) -> Tensor:
    """Scores of word rows (B, N, p) -> scores of classes (B, K, p); -inf for a class without rows."""
    where = class_index[:, None].expand_as(rows)
    shape = rows.shape[0], classes, rows.shape[2]
    return rows.new_full(shape, -torch.inf).scatter_reduce(1, where, rows, "amax")
