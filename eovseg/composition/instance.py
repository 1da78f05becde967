"""Instances of one photo: the best pairs of query and class; their masks may overlap.

Each mask is computed within its box, one band of rows at a time, and stored as run lengths. Time is proportional to the
area of the boxes, and memory does not grow with photo size times number of instances.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eovseg.composition.geometry import BAND_ELEMENTS, MaskGeometry
from eovseg.instance_masks import InstanceMasks, MaskCrop


@dataclass(frozen=True)
class Instances:
    """Detections of one photo, best first; masks (n, H, W) bool may overlap."""

    masks: InstanceMasks
    labels: Tensor  # (n,) class index
    scores: Tensor  # (n,)
    queries: Tensor  # (n,)


def instances(
    class_log_probabilities: Tensor,
    mask_logits: Tensor,
    is_thing: Tensor,
    geometry: MaskGeometry,
    detections: int = 100,
    things_only: bool = True,
    score_threshold: float | None = None,
    made: dict[int, tuple[MaskCrop, Tensor]] | None = None,
) -> Instances:
    """Top `detections` of queries x classes; score = class probability x mean mask probability inside the mask.

    `class_log_probabilities` (Q, K+1), void last; `mask_logits` (Q, h, w) at stride 4. If there are fewer than
    `detections` pairs, all are used (the released code fails). Masks are computed only for scores above
    `score_threshold`. `made` caches the masks of these `mask_logits` by query and is extended in place; it stays valid
    when scores or classes change.
    """
    probabilities = class_log_probabilities.softmax(-1)[:, :-1]
    classes = probabilities.shape[1]
    flat = probabilities.flatten()
    top_scores, top = flat.topk(min(detections, len(flat)))
    labels, queries = top % classes, top // classes
    keep = torch.ones_like(labels, dtype=torch.bool)
    if things_only:
        keep &= is_thing.to(labels.device)[labels]
    if score_threshold is not None:
        keep &= top_scores > score_threshold  # multiplying by the mask's mean can only lower it
    top_scores, labels, queries = top_scores[keep], labels[keep], queries[keep]
    used, position = queries.unique(return_inverse=True)
    made = {} if made is None else made
    missing = [query for query in used.tolist() if query not in made]
    made.update(zip(missing, zip(*_masks(mask_logits[missing], geometry), strict=True), strict=True))
    crops = [made[query][0] for query in used.tolist()]
    means = torch.stack([made[query][1] for query in used.tolist()]) if crops else top_scores
    scores = top_scores * means.to(top_scores)[position]
    order = scores.argsort(descending=True, stable=True)
    if score_threshold is not None:
        order = order[scores[order] > score_threshold]
    masks = InstanceMasks(geometry.output_size, [crops[place] for place in position[order].tolist()])
    return Instances(masks, labels[order], scores[order], queries[order])


def _masks(mask_logits: Tensor, geometry: MaskGeometry) -> tuple[list[MaskCrop], Tensor]:
    """The mask of every query of `mask_logits` (n, h, w) and the mean probability inside it (n,)."""
    crops: list[MaskCrop] = []
    means = mask_logits.new_zeros(len(mask_logits))
    if not len(mask_logits):
        return crops, means
    positive = mask_logits > 0
    used_rows, used_columns = positive.any(2).cpu(), positive.any(1).cpu()
    for index, logits in enumerate(mask_logits.split(1)):
        rows = _reach(used_rows[index], geometry, 0)
        columns = _reach(used_columns[index], geometry, 1)
        crop = logits.new_zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=torch.bool)
        step = max(1, BAND_ELEMENTS // max(1, crop.shape[1]))
        total, area = logits.new_zeros(()), logits.new_zeros(())
        for start in range(rows.start, rows.stop if crop.numel() else rows.start, step):  # empty: padding only
            stop = min(rows.stop, start + step)
            band = geometry.window(logits, slice(start, stop), columns)[0]
            inside = crop[start - rows.start : stop - rows.start]
            torch.gt(band, 0, out=inside)
            total += band.sigmoid_().mul_(inside).sum()
            area += inside.sum()
        means[index] = total / (area + 1e-6)
        crops.append(MaskCrop.of(crop, columns.start, rows.start))
    return crops, means


def _reach(used: Tensor, geometry: MaskGeometry, axis: int) -> slice:
    """Range of the photo's rows (axis 0) or columns (axis 1) that the `used` ones at stride 4 can make positive.

    Both resizing steps interpolate between two neighbours, so a pixel can be positive only if one of its sources is.
    """
    places = used.nonzero().flatten().tolist()
    if not places:
        return slice(0, 0)
    stride = geometry.padded_size[axis] / len(used)
    scale = geometry.output_size[axis] / geometry.input_size[axis]
    first, last = (places[0] - 1) * stride, (places[-1] + 2) * stride  # at input size, with neighbours
    start, stop = math.floor((first - 1) * scale) - 1, math.ceil((last + 1) * scale) + 1
    return slice(*(min(geometry.output_size[axis], max(0, value)) for value in (start, stop)))
