"""Semantic segmentation of one photo, one band of rows at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

from eovseg.composition.geometry import BAND_ELEMENTS, MaskGeometry


def semantic(class_log_probabilities: Tensor, mask_logits: Tensor, geometry: MaskGeometry) -> Tensor:
    """Class scores (K, H, W): the sum over queries of class x mask probability. Large for many words."""
    return torch.cat([scores for _, scores in _semantic_bands(class_log_probabilities, mask_logits, geometry)], dim=1)


def semantic_argmax(
    class_log_probabilities: Tensor,
    mask_logits: Tensor,
    geometry: MaskGeometry,
    word_map: Tensor | None = None,
    weight: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Best class of every pixel (H, W) long and its score (H, W), without storing the scores of all classes.

    `word_map` (K, h, w) are log-probabilities of the classes at mask stride. They are mixed with the kernels' scores
    as a geometric mean, in which `weight` (0..1) is theirs.
    """
    bands = []
    for rows, scores in _semantic_bands(class_log_probabilities, mask_logits, geometry):
        if word_map is not None:
            words = geometry.window(word_map, rows, slice(0, geometry.output_size[1]))
            scores = scores ** (1 - weight) * (weight * words).exp()
        bands.append(scores.max(0))
    return torch.cat([b.indices for b in bands]), torch.cat([b.values for b in bands])


def _semantic_bands(
    class_log_probabilities: Tensor, mask_logits: Tensor, geometry: MaskGeometry
) -> Iterator[tuple[slice, Tensor]]:
    classes = class_log_probabilities.softmax(-1)[:, :-1]  # (Q, K)
    for rows, band in geometry.bands(mask_logits):
        probability = band.sigmoid()
        step = max(1, BAND_ELEMENTS // (max(1, classes.shape[1]) * probability.shape[-1]))
        for start in range(0, probability.shape[1], step):
            part = probability[:, start : start + step]
            stop = rows.start + start + part.shape[1]
            yield slice(rows.start + start, stop), torch.einsum("qk,qhw->khw", classes, part)
