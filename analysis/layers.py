"""One object kernel in each layer of the decoder: its masks, its classes and its attention to other kernels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from analysis.grids import on_photo
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor
from eovseg.stages import Decoded

VOID = "(none of these words)"


@dataclass(frozen=True)
class LayerClass:
    """A class and its in-vocabulary probability (0..1) in one layer."""

    label: str
    probability: float


@dataclass(frozen=True, eq=False)
class QueryPath:
    """One kernel through the L layers.

    `masks` (1+L, H, W) float32: mask probabilities on the photo, the initial mask of the learned kernel first;
    `classes`: the best classes of each layer (the initial mask has none); `attention` (L, Q): its self-attention over
    all kernels.
    """

    query: int
    masks: np.ndarray
    classes: tuple[tuple[LayerClass, ...], ...]
    attention: np.ndarray


@torch.inference_mode()
def query_path(predictor: Predictor, decoded: Decoded, query: int, top: int = 3) -> QueryPath:
    """Follow kernel `query` (0..Q-1) of a photo decoded with `intermediates=True`; raises `ConfigError` otherwise."""
    inside = decoded.intermediates
    if inside is None:
        raise ConfigError("The path through the layers needs decode(..., intermediates=True).")
    count = predictor.config.queries
    if not 0 <= query < count:
        raise ConfigError(f"query={query} is outside 0 to {count - 1}.")
    masks = torch.stack(
        [inside.initial_mask_logits[0, query], *(layer[0, query] for layer in decoded.logits.mask_logits)]
    )
    names = (*decoded.vocabulary.labels, VOID)
    classes = []
    for layer in decoded.logits.class_logits:
        probability = layer[0, query].float().softmax(-1)
        best = probability.argsort(descending=True)[:top].tolist()
        classes.append(tuple(LayerClass(names[i], float(probability[i])) for i in best))
    attention = torch.stack([layer[0, query, :count].float() for layer in inside.self_attention])
    # the sigmoid comes after resizing, as in composition
    probability = 1 / (1 + np.exp(-on_photo(masks, decoded.state).clip(-30, 30)))
    return QueryPath(query, probability.astype(np.float32), tuple(classes), attention.cpu().numpy())


def mask_agreement(path: QueryPath) -> np.ndarray:
    """(1+L,) IoU (0..1) of each stage's mask with the final one, both thresholded at probability 0.5."""
    hard = path.masks > 0.5
    shared = (hard & hard[-1]).sum((1, 2))
    union = (hard | hard[-1]).sum((1, 2))
    return shared / np.maximum(union, 1)


@dataclass(frozen=True)
class AttendedKernel:
    """A kernel that another one attends to: its number, the id of the segment it drew, and its attention (0..1)."""

    query: int
    segment: int | None
    share: float


def attended_kernels(path: QueryPath, layer: int, queries: Mapping[int, int], top: int = 5) -> list[AttendedKernel]:
    """The `top` kernels by self-attention in `layer` (counted from 1), including the kernel itself.

    `queries`: the kernel of each segment id (`analysis.ablation.segment_queries`). Raises `ConfigError` for layers that
    do not exist.
    """
    if not 1 <= layer <= len(path.attention):
        raise ConfigError(f"layer={layer} is outside 1 to {len(path.attention)}.")
    segment_of = {query: segment for segment, query in queries.items()}
    shares = path.attention[layer - 1]
    order = np.argsort(-shares, kind="stable")[:top].tolist()
    return [AttendedKernel(query, segment_of.get(query), float(shares[query])) for query in order]
