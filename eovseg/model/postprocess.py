"""From logits to results: panoptic, semantic and instance outputs of one photo, in bounded memory.

Masks stay at stride 4 until they are needed: kept queries only, and a band of output rows at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BAND_ELEMENTS = 2**20  # mask values held at once, about 4 MB in float32: they stay in a processor's cache


@dataclass(frozen=True)
class SegmentRecord:
    """One segment: its id in the map (from 1), class index, whether a thing, and the query whose scores it reports."""

    id: int
    class_id: int
    is_thing: bool
    query: int
    score: float


@dataclass(frozen=True)
class MaskGeometry:
    """How masks at stride 4 reach the photo: upsampled to the padded input, cropped, resized. All (height, width)."""

    padded_size: tuple[int, int]
    input_size: tuple[int, int]
    output_size: tuple[int, int]

    def bands(self, mask_logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Mask logits (Q, h, w) at output size, a band of rows at a time: (rows, (Q, rows, W)).

        Equal to bilinear upsampling to `padded_size`, cropping and bilinear resizing of the whole.
        """
        height, width = self.output_size
        values = max(1, len(mask_logits)) * max(width, self.padded_size[1])
        rows = max(1, min(height, BAND_ELEMENTS // values))
        for start in range(0, height, rows):
            stop = min(height, start + rows)
            yield slice(start, stop), self._band(mask_logits, start, stop)

    def _band(self, mask_logits: Tensor, start: int, stop: int) -> Tensor:
        if self.output_size == self.input_size:
            return self._upsampled(mask_logits, start, stop)
        low, high, weight = _bilinear_axis(self.input_size[0], self.output_size[0], start, stop, mask_logits)
        first, last = int(low[0]), int(high[-1]) + 1
        band = self._upsampled(mask_logits, first, last)
        band = torch.lerp(band[:, low - first], band[:, high - first], weight[:, None])
        low, high, weight = _bilinear_axis(self.input_size[1], self.output_size[1], 0, self.output_size[1], band)
        return torch.lerp(band[..., low], band[..., high], weight)

    def _upsampled(self, mask_logits: Tensor, start: int, stop: int) -> Tensor:
        """Rows start..stop of the masks at input size; a halo of one source row makes bands exact."""
        stride = self.padded_size[0] // mask_logits.shape[-2]
        top = max(0, start // stride - 1)
        bottom = min(mask_logits.shape[-2], (stop - 1) // stride + 2)
        size = ((bottom - top) * stride, self.padded_size[1])
        band = F.interpolate(mask_logits[None, :, top:bottom], size, mode="bilinear", align_corners=False)[0]
        return band[:, start - top * stride : stop - top * stride, : self.input_size[1]]


def _bilinear_axis(size: int, target: int, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    positions = torch.arange(start, stop, device=like.device, dtype=like.dtype)
    source = ((positions + 0.5) * (size / target) - 0.5).clamp(min=0)
    low = source.floor().long().clamp(max=size - 1)
    return low, (low + 1).clamp(max=size - 1), source - low


def panoptic(
    class_log_probabilities: Tensor,
    mask_logits: Tensor,
    is_thing: Tensor,
    geometry: MaskGeometry,
    score_threshold: float = 0.0,
    overlap_threshold: float = 0.8,
    void_threshold: float | None = None,
) -> tuple[Tensor, list[SegmentRecord]]:
    """Panoptic segments of one photo: scores (Q, K+1), masks (Q, h, w), is_thing (K,) -> (H, W) int32 map and records.

    Kept are kernels whose best class scores above `score_threshold` and that are not void: void is their most
    probable class, or, with a `void_threshold` (0..1), their void probability exceeds it. Each pixel goes to the kernel
    with the highest score x mask probability; a segment needs a mask probability of at least 0.5, and its share of
    the kernel's own area must reach `overlap_threshold`. Stuff of one class is one segment, reporting its best kernel.
    """
    scores, labels, keep = _select_kernels(class_log_probabilities, score_threshold, void_threshold)
    segment_map = torch.zeros(geometry.output_size, dtype=torch.int32, device=mask_logits.device)
    kept = keep.nonzero().flatten()
    if not len(kept):
        return segment_map, []
    scores, labels, masks = scores[kept], labels[kept], mask_logits[kept]
    count = len(kept)
    winner = torch.empty(geometry.output_size, dtype=torch.int32, device=mask_logits.device)
    inside = torch.empty(geometry.output_size, dtype=torch.bool, device=mask_logits.device)
    own_area = torch.zeros(count, dtype=torch.long, device=mask_logits.device)
    for rows, band in geometry.bands(masks):
        probability = band.sigmoid()
        best = (scores[:, None, None] * probability).argmax(0)
        own = probability >= 0.5
        own_area += own.flatten(1).sum(1)
        winner[rows] = best.to(torch.int32)
        inside[rows] = own.gather(0, best[None])[0]
    won_area = torch.bincount(winner.flatten().long(), minlength=count)
    segment_area = torch.bincount(winner[inside].long(), minlength=count)
    large = (won_area > 0) & (own_area > 0) & (segment_area > 0)
    large &= won_area.double() / own_area.clamp(min=1).double() >= overlap_threshold
    ids, records = _number_segments(kept, scores, labels, large, is_thing)
    segment_map[inside] = ids.to(segment_map)[winner[inside].long()]
    return segment_map, records


def _select_kernels(
    class_log_probabilities: Tensor, score_threshold: float, void_threshold: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    probabilities = class_log_probabilities.softmax(-1)
    if void_threshold is None:
        scores, labels = probabilities.max(-1)
        keep = labels != probabilities.shape[-1] - 1
    else:
        scores, labels = probabilities[:, :-1].max(-1)
        keep = probabilities[:, -1] <= void_threshold
    return scores, labels, keep & (scores > score_threshold)


def _number_segments(
    queries: Tensor, scores: Tensor, labels: Tensor, large: Tensor, is_thing: Tensor
) -> tuple[Tensor, list[SegmentRecord]]:
    """Segment id of every kept kernel (0 = dropped), in the kernels' order; stuff of one class shares its first."""
    ids = torch.zeros(len(queries), dtype=torch.int32)
    records: list[SegmentRecord] = []
    stuff_ids: dict[int, int] = {}
    rows = zip(queries.tolist(), scores.tolist(), labels.tolist(), large.tolist(), strict=True)
    for index, (query, score, label, is_large) in enumerate(rows):
        if not is_large:
            continue
        thing = bool(is_thing[label])
        known = None if thing else stuff_ids.get(label)
        if known is None:
            records.append(SegmentRecord(len(records) + 1, label, thing, query, score))
            ids[index] = len(records)
            if not thing:
                stuff_ids[label] = len(records)
            continue
        ids[index] = known
        if score > records[known - 1].score:
            records[known - 1] = SegmentRecord(known, label, thing, query, score)
    return ids.to(queries.device), records


def semantic(class_log_probabilities: Tensor, mask_logits: Tensor, geometry: MaskGeometry) -> Tensor:
    """Class scores of every pixel, sum over queries of class x mask probability: -> (K, H, W). Large for many words."""
    return torch.cat([scores for _, scores in _semantic_bands(class_log_probabilities, mask_logits, geometry)], dim=1)


def semantic_argmax(
    class_log_probabilities: Tensor, mask_logits: Tensor, geometry: MaskGeometry
) -> tuple[Tensor, Tensor]:
    """Best class of every pixel (H, W) long and its score (H, W), without holding all classes at once."""
    bands = [scores.max(0) for _, scores in _semantic_bands(class_log_probabilities, mask_logits, geometry)]
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


@dataclass(frozen=True)
class Instances:
    """Detections of one photo, best first; masks (n, H, W) bool and may overlap."""

    masks: Tensor
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
) -> Instances:
    """Top `detections` of queries x classes, score = class probability x mean mask probability inside the mask.

    With fewer than `detections` pairs all are taken (the released code fails there).
    """
    probabilities = class_log_probabilities.softmax(-1)[:, :-1]
    classes = probabilities.shape[1]
    flat = probabilities.flatten()
    top_scores, top = flat.topk(min(detections, len(flat)))
    labels, queries = top % classes, top // classes
    if things_only:
        keep = is_thing.to(labels.device)[labels]
        top_scores, labels, queries = top_scores[keep], labels[keep], queries[keep]
    used, position = queries.unique(return_inverse=True)
    masks = torch.zeros((len(used), *geometry.output_size), dtype=torch.bool, device=mask_logits.device)
    if not len(used):  # only stuff in the vocabulary
        return Instances(masks, labels, top_scores, queries)
    total = mask_logits.new_zeros(len(used))
    area = mask_logits.new_zeros(len(used))
    for rows, band in geometry.bands(mask_logits[used]):
        positive = band > 0
        masks[:, rows] = positive
        total += (band.sigmoid() * positive).flatten(1).sum(1)
        area += positive.flatten(1).sum(1)
    scores = top_scores * (total / (area + 1e-6))[position]
    order = scores.argsort(descending=True, stable=True)
    return Instances(masks[position[order]], labels[order], scores[order], queries[order])
