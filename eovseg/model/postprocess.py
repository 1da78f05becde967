"""Panoptic, semantic and instance results from scores and masks, as in the paper and the released code.

This reference upsamples every query's mask to photo size; `eovseg.composition` gives equal results in bounded memory.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.model.values import SegmentRecord


def masks_on_photo(
    mask_logits: Tensor, padded_size: tuple[int, int], input_size: tuple[int, int], output_size: tuple[int, int]
) -> Tensor:
    """Mask logits at stride 4 (Q, h, w) upsampled to the padded input, cropped, resized to the photo: (Q, H, W)."""
    masks = F.interpolate(mask_logits[None], padded_size, mode="bilinear", align_corners=False)
    masks = masks[..., : input_size[0], : input_size[1]]
    return F.interpolate(masks, output_size, mode="bilinear", align_corners=False)[0]


def panoptic(
    class_log_probabilities: Tensor,
    mask_logits: Tensor,
    is_thing: Tensor,
    score_threshold: float = 0.0,
    overlap_threshold: float = 0.8,
    void_threshold: float | None = None,
) -> tuple[Tensor, list[SegmentRecord]]:
    """Panoptic segments: scores (Q, K+1), masks (Q, H, W), is_thing (K,) -> (H, W) int32 map on the CPU and records.

    A kernel is kept if its best class scores above `score_threshold` and it is not void: void must not be its most
    probable class or, with a `void_threshold` (0..1), its void probability must not exceed that. Each pixel goes to the
    kernel with the highest score x mask probability, and is labelled if its mask probability is at least 0.5. A kernel
    is dropped if it wins less than `overlap_threshold` of its own area. All stuff of one class is one segment,
    reporting its best kernel.
    """
    segment_map = torch.zeros(mask_logits.shape[-2:], dtype=torch.int32)
    records: list[SegmentRecord] = []
    scores, labels, keep = kept_kernels(class_log_probabilities, score_threshold, void_threshold)
    queries = keep.nonzero().flatten().tolist()
    if not queries:
        return segment_map, records
    masks = mask_logits[keep].sigmoid()  # (n, H, W)
    winner = (scores[keep][:, None, None] * masks).argmax(0)  # (H, W)
    stuff: dict[int, int] = {}  # class -> its segment
    for row, query in enumerate(queries):
        label, score, thing = int(labels[query]), float(scores[query]), bool(is_thing[labels[query]])
        won, own = winner == row, masks[row] >= 0.5
        segment = won & own
        if not segment.any() or int(won.sum()) / int(own.sum()) < overlap_threshold:
            continue
        number = stuff.get(label, len(records) + 1)
        if number > len(records):
            records.append(SegmentRecord(number, label, thing, query, score))
            stuff |= {} if thing else {label: number}
        elif score > records[number - 1].score:
            records[number - 1] = SegmentRecord(number, label, thing, query, score)
        segment_map[segment.cpu()] = number
    return segment_map, records


def kept_kernels(
    class_log_probabilities: Tensor, score_threshold: float | Tensor, void_threshold: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Best score and class of every kernel, and whether it is kept: (Q, K+1) -> three (Q,).

    `score_threshold` may be (Q,), one for each kernel.
    """
    probabilities = class_log_probabilities.softmax(-1)
    if void_threshold is None:
        scores, labels = probabilities.max(-1)
        keep = labels != probabilities.shape[-1] - 1
    else:
        scores, labels = probabilities[:, :-1].max(-1)
        keep = probabilities[:, -1] <= void_threshold
    return scores, labels, keep & (scores > score_threshold)


def semantic(class_log_probabilities: Tensor, mask_logits: Tensor) -> Tensor:
    """Class scores: the sum over queries of class x mask probability; (Q, K+1), (Q, H, W) -> (K, H, W)."""
    return torch.einsum("qk,qhw->khw", class_log_probabilities.softmax(-1)[:, :-1], mask_logits.sigmoid())


@dataclass(frozen=True)
class Instances:
    """Detections of one photo, best first; masks (n, H, W) bool may overlap."""

    masks: Tensor
    labels: Tensor  # (n,) class index
    scores: Tensor  # (n,)
    queries: Tensor  # (n,)


def instances(
    class_log_probabilities: Tensor,
    mask_logits: Tensor,
    is_thing: Tensor,
    detections: int = 100,
    things_only: bool = True,
) -> Instances:
    """Top `detections` of queries x classes; score = class probability x mean mask probability inside the mask.

    Scores (Q, K+1), masks (Q, H, W). With fewer than `detections` pairs, all are used (the released code fails).
    """
    probabilities = class_log_probabilities.softmax(-1)[:, :-1]  # (Q, K)
    scores, top = probabilities.flatten().topk(min(detections, probabilities.numel()))
    queries, labels = top // probabilities.shape[1], top % probabilities.shape[1]
    if things_only:
        thing = is_thing[labels]
        scores, queries, labels = scores[thing], queries[thing], labels[thing]
    masks = mask_logits[queries] > 0  # (n, H, W)
    inside = (mask_logits[queries].sigmoid() * masks).flatten(1).sum(1)
    scores = scores * inside / (masks.flatten(1).sum(1) + 1e-6)
    order = scores.argsort(descending=True, stable=True)
    return Instances(masks[order], labels[order], scores[order], queries[order])
