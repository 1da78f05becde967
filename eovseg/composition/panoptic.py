"""Panoptic segments of one photo, in bounded memory.

There are two composition rules: `panoptic`, that of the released code, and `best_first`, that of XS.

Masks stay at stride 4; only those of kept queries are upsampled, tile by tile.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from eovseg.composition.geometry import BAND_ELEMENTS
from eovseg.composition.tiles import TiledMasks
from eovseg.model.postprocess import kept_kernels
from eovseg.model.values import SegmentRecord

LARGE_AREA = 0.1  # share of the photo


def panoptic(
    class_log_probabilities: Tensor,
    masks: TiledMasks,
    is_thing: Tensor,
    score_threshold: float = 0.0,
    overlap_threshold: float = 0.8,
    void_threshold: float | None = None,
    guide: Tensor | None = None,
) -> tuple[Tensor, list[SegmentRecord]]:
    """Panoptic segments of one photo: scores (Q, K+1), masks, is_thing (K,) -> (H, W) int32 map and records.

    A kernel is kept if its best class scores above `score_threshold` and it is not void: void must not be its most
    probable class or, with a `void_threshold` (0..1), its void probability must not exceed that. Each pixel goes to the
    kernel with the highest score x mask probability, and is labelled if its mask probability is at least 0.5. A kernel
    is dropped if it wins less than `overlap_threshold` of its own area. All stuff of one class is one segment,
    reporting its best kernel. With a `guide` (see `TiledMasks.along_edges`), the masks of all kernels that win a pixel
    are aligned with its edges.
    """
    scores, labels, keep = kept_kernels(class_log_probabilities, score_threshold, void_threshold)
    kept = keep.nonzero().flatten()
    places = kept
    if guide is not None and len(kept):
        kept = kept[masks.compete(kept, scores[kept]).unique().long().div(2, rounding_mode="floor").unique()]
        masks, places = masks.along_edges(kept, guide), torch.arange(len(kept), device=kept.device)
    if not len(kept):
        return _nothing(masks)
    code = masks.compete(places, scores[kept])
    own_area = masks.areas(places)
    lost_area, segment_area = _count(code, len(kept))
    # Divided in Python: exact for areas of any size, and not every GPU has float64.
    areas = torch.stack([segment_area, lost_area, own_area], dim=1).tolist()
    large = [bool(segment and own) and (segment + lost) / own >= overlap_threshold for segment, lost, own in areas]
    return _segments(code, kept, scores[kept], labels[kept], large, is_thing)


def best_first(
    class_log_probabilities: Tensor,
    masks: TiledMasks,
    is_thing: Tensor,
    score_threshold: float = 0.2,
    overlap_threshold: float = 0.7,
    void_threshold: float | None = None,
    mask_threshold: float = 0.5,
    pixel_threshold: float = 0.5,
    large_score_factor: float = 1.0,
    guide: Tensor | None = None,
) -> tuple[Tensor, list[SegmentRecord]]:
    """Like `panoptic`, but kernels are accepted one by one, best first, before pixels are assigned.

    Kernels are ordered by score x mean mask probability inside their mask, the cells with a probability above
    `mask_threshold`. A kernel is accepted if at least `overlap_threshold` of its mask is not covered by previously
    accepted kernels; this is decided at mask stride. Large masks may have a lower score threshold, see
    `acceptance_order`. Each pixel then goes to the accepted kernel with the highest mask probability, regardless of
    score, if that is at least `pixel_threshold`. So no pixel that an accepted kernel claims stays unlabelled.
    """
    everyone = torch.arange(len(class_log_probabilities), device=class_log_probabilities.device)
    cells = mask_cells(masks, everyone, mask_threshold)
    thresholds = (score_threshold, void_threshold, large_score_factor)
    order, scores, labels = acceptance_order(class_log_probabilities, cells, *thresholds)
    kept = everyone[uncovered(order, cells.inside, cells.areas, overlap_threshold)]
    if not len(kept):
        return _nothing(masks)
    places = kept
    if guide is not None:
        masks, places = masks.along_edges(kept, guide), torch.arange(len(kept), device=kept.device)
    code = masks.compete(places, masks.mask_logits.new_ones(len(kept)), pixel_threshold)
    _, segment_area = _count(code, len(kept))
    return _segments(code, kept, scores[kept], labels[kept], (segment_area > 0).tolist(), is_thing)


class MaskCells(NamedTuple):
    """The hard masks of n kernels at mask stride, without padding.

    The masks are on the CPU, because `uncovered` processes the masks one by one, which is slow on a GPU.
    """

    inside: Tensor  # (n, h, w) bool
    areas: list[int]  # in cells
    mean: Tensor  # (n,), mean probability inside the mask


def mask_cells(masks: TiledMasks, queries: Tensor, mask_threshold: float) -> MaskCells:
    """The hard masks of `queries` (n,): the cells with a probability above `mask_threshold`."""
    probability = masks.cells(queries)
    inside = probability > mask_threshold
    area = inside.flatten(1).sum(1)
    mean = (probability * inside).flatten(1).sum(1) / area.clamp(min=1)
    return MaskCells(inside.cpu(), area.tolist(), mean)


def acceptance_order(
    class_log_probabilities: Tensor,
    cells: MaskCells,
    score_threshold: float,
    void_threshold: float | None,
    large_score_factor: float = 1.0,
) -> tuple[list[int], Tensor, Tensor]:
    """The kernels that reach the thresholds, best first, and the scores and classes of all kernels, both (Q,).

    `class_log_probabilities` are (Q, K+1), void last; `cells` are the masks of all Q kernels; thresholds are in 0..1.

    For a mask that covers at least `LARGE_AREA` of the photo, the score threshold is multiplied by
    `large_score_factor`, because a photo's large regions are rarely nothing.
    """
    thresholds = torch.full_like(cells.mean, score_threshold)
    areas = torch.tensor(cells.areas, device=thresholds.device)
    thresholds[areas >= LARGE_AREA * cells.inside[0].numel()] *= large_score_factor
    scores, labels, keep = kept_kernels(class_log_probabilities, thresholds, void_threshold)
    ranked = (scores * cells.mean).argsort(descending=True, stable=True)
    return ranked[keep[ranked]].tolist(), scores, labels


def uncovered(order: list[int], inside: Tensor, areas: list[int], overlap_threshold: float) -> list[int]:
    """Accepts the masks in `order` of which at least `overlap_threshold` is not covered by those already accepted."""
    free = inside.new_ones(inside.shape[1:])
    found = []
    for place in order:
        visible = int((inside[place] & free).sum())
        if visible and visible >= overlap_threshold * areas[place]:
            found.append(place)
            free &= ~inside[place]
    return found


def _nothing(masks: TiledMasks) -> tuple[Tensor, list[SegmentRecord]]:
    return torch.zeros(masks.geometry.output_size, dtype=torch.int32, device=masks.mask_logits.device), []


def _bands(code: Tensor) -> list[Tensor]:
    """The output of `TiledMasks.compete` in bands of rows."""
    return list(code.split(max(1, BAND_ELEMENTS // code.shape[1])))


def _count(code: Tensor, kernels: int) -> tuple[Tensor, Tensor]:
    """Number of pixels that each kernel wins outside and inside its hard mask, both (n,)."""
    counts = torch.stack([torch.bincount(band.flatten(), minlength=2 * kernels) for band in _bands(code)]).sum(0)
    return counts[0::2], counts[1::2]


def _segments(
    code: Tensor, kept: Tensor, scores: Tensor, labels: Tensor, found: list[bool], is_thing: Tensor
) -> tuple[Tensor, list[SegmentRecord]]:
    """Map and records of the `kept` kernels that are `found`, all (n,); only pixels inside a hard mask are labelled."""
    ids, records = _number_segments(kept, scores, labels, found, is_thing)
    table = torch.stack([torch.zeros_like(ids), ids], dim=1).flatten()
    return torch.cat([table[band.int()] for band in _bands(code)]), records


def _number_segments(
    queries: Tensor, scores: Tensor, labels: Tensor, large: list[bool], is_thing: Tensor
) -> tuple[Tensor, list[SegmentRecord]]:
    """Segment id of every kept kernel in order, 0 = dropped; kernels of one stuff class share an id."""
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
