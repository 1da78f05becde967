"""From logits to results: panoptic and semantic outputs of one photo, in bounded memory; instances have their own file.

Masks stay at stride 4 until they are needed: kept queries only, and a band of output rows at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from eovseg.model.geometry import BAND_ELEMENTS, MaskGeometry
from eovseg.model.tiles import TiledMasks


@dataclass(frozen=True)
class SegmentRecord:
    """One segment: its id in the map (from 1), class index, whether a thing, and the query whose scores it reports."""

    id: int
    class_id: int
    is_thing: bool
    query: int
    score: float


def panoptic(
    class_log_probabilities: Tensor,
    masks: TiledMasks,
    is_thing: Tensor,
    score_threshold: float = 0.0,
    overlap_threshold: float = 0.8,
    void_threshold: float | None = None,
) -> tuple[Tensor, list[SegmentRecord]]:
    """Panoptic segments of one photo: scores (Q, K+1), masks, is_thing (K,) -> (H, W) int32 map and records.

    Kept are kernels whose best class scores above `score_threshold` and that are not void: void is their most
    probable class, or, with a `void_threshold` (0..1), their void probability exceeds it. Each pixel goes to the kernel
    with the highest score x mask probability; a segment needs a mask probability of at least 0.5, and its share of
    the kernel's own area must reach `overlap_threshold`. Stuff of one class is one segment, reporting its best kernel.
    """
    scores, labels, keep = _select_kernels(class_log_probabilities, score_threshold, void_threshold)
    size, device = masks.geometry.output_size, masks.mask_logits.device
    kept = keep.nonzero().flatten()
    if not len(kept):
        return torch.zeros(size, dtype=torch.int32, device=device), []
    scores, labels = scores[kept], labels[kept]
    count, step = len(kept), max(1, BAND_ELEMENTS // size[1])
    own_area = masks.areas(kept)
    # One table of the winner and its hard mask: two counts and the segment map are read from it, some rows at a time.
    code = masks.compete(kept, scores)
    bands = [code[start : start + step] for start in range(0, size[0], step)]
    counts = torch.stack([torch.bincount(band.flatten(), minlength=2 * count) for band in bands]).sum(0)
    segment_area = counts[1::2]
    won_area = counts[0::2] + segment_area
    # Python divides: exact for areas of any size, and not every GPU has float64.
    areas = torch.stack([segment_area, won_area, own_area], dim=1).tolist()
    large = [bool(segment and own) and won / own >= overlap_threshold for segment, won, own in areas]
    ids, records = _number_segments(kept, scores, labels, large, is_thing)
    table = torch.stack([torch.zeros_like(ids), ids], dim=1).flatten()
    return torch.cat([table[band.int()] for band in bands]), records


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
    queries: Tensor, scores: Tensor, labels: Tensor, large: list[bool], is_thing: Tensor
) -> tuple[Tensor, list[SegmentRecord]]:
    """Segment id of every kept kernel (0 = dropped), in the kernels' order; stuff of one class shares its first."""
    ids = torch.zeros(len(queries), dtype=torch.int32)
    records: list[SegmentRecord] = []
    stuff_ids: dict[int, int] = {}
    rows = zip(queries.tolist(), scores.tolist(), labels.tolist(), large, strict=True)
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
