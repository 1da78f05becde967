"""TDEE off and on (Fig. 6): the same weights with E_I = E_m, and which segments that changes.

This is not Table 4, where each row is a network trained that way; here one trained network has its fusion switched
off. The kernels' masks do not change, because each layer computes its masks before the fusion. Classes and scores do,
and they decide which kernels win a pixel, are merged, or survive.
"""

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import nn

from eovseg.errors import ConfigError
from eovseg.images import ImageSource
from eovseg.model.decoder import DecoderLayer
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.stages import Decoded
from eovseg.vocabulary import Vocabulary

Change = Literal["same", "renamed", "reshaped", "gone", "new"]
MATCH_IOU = 0.5  # minimum IoU of a segment and its counterpart
_Module = TypeVar("_Module", bound=nn.Module)


def without_fusion(predictor: Predictor) -> Predictor:
    """The same predictor with E_I = E_m in every decoder layer; weights and cached photos are shared, not copied.

    `predictor` itself is not modified. Raises `ConfigError` if the model has neither TDEE nor SDI.
    """
    if predictor.config.fusion in ("none", "EAF"):
        raise ConfigError(
            f"fusion={predictor.config.fusion!r} cannot be switched off after training; give a model with TDEE or SDI."
        )
    network = shallow_copy(predictor.network)
    network.image_half = predictor.network.image_half  # the fusion is not part of it
    network.decoder = shallow_copy(network.decoder)
    network.decoder.layers = nn.ModuleList(shallow_copy(layer) for layer in predictor.network.decoder.layers)
    for layer in network.decoder.layers:
        assert isinstance(layer, DecoderLayer)
        layer.fusion = None
    without = copy.copy(predictor)
    without.network = network
    return without


def shallow_copy(module: _Module) -> _Module:
    """A shallow copy of a module: its children and tensors are the original's."""
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied


@dataclass(frozen=True)
class SegmentChange:
    """How a segment differs between two results.

    `before` and `after` index the segments of the two results and are None if there is no counterpart; `iou` is the IoU
    of the two (0..1), `box` the bounding box x0, y0, x1, y1 of both.
    """

    change: Change
    before: int | None
    after: int | None
    iou: float
    box: tuple[int, int, int, int]


def compare_results(
    first: Result, second: Result, match_iou: float = MATCH_IOU, same_iou: float = 0.9
) -> list[SegmentChange]:
    """Matches the segments of two results of one photo by overlap, regardless of class, and classifies each change.

    The matching maximises the sum of IoUs; a pair needs an IoU of at least `match_iou`. "renamed": another class;
    "reshaped": the same class with an IoU below `same_iou`; "gone" and "new": unmatched. Segments of the first result
    come first, in its order, then the new ones.
    """
    overlap = segment_overlap(first, second)
    partner = {
        int(row): int(column)
        for row, column in zip(*linear_sum_assignment(-overlap), strict=True)
        if overlap[row, column] >= match_iou
    }
    changes = []
    for row, segment in enumerate(first.segments):
        if row not in partner:
            changes.append(SegmentChange("gone", row, None, 0.0, segment.box))
            continue
        other, iou = second.segments[partner[row]], float(overlap[row, partner[row]])
        change: Change = "same" if iou >= same_iou else "reshaped"
        if segment.label != other.label:
            change = "renamed"
        changes.append(SegmentChange(change, row, partner[row], iou, _around(segment.box, other.box)))
    for column, segment in enumerate(second.segments):
        if column not in partner.values():
            changes.append(SegmentChange("new", None, column, 0.0, segment.box))
    return changes


def segment_overlap(first: Result, second: Result) -> np.ndarray:
    """IoU (n, m) of the n segments of one result with the m segments of another of the same photo."""
    if first.segment_map.shape != second.segment_map.shape:
        raise ValueError(f"The maps are {first.segment_map.shape} and {second.segment_map.shape}; sizes must agree.")
    rows, columns = (
        np.stack([result.mask(i) for i in range(len(result.segments))]).reshape(len(result.segments), -1)
        if result.segments
        else np.zeros((0, result.segment_map.size), dtype=bool)
        for result in (first, second)
    )
    shared = rows.astype(np.float32) @ columns.T.astype(np.float32)
    union = rows.sum(1)[:, None] + columns.sum(1)[None] - shared
    return shared / np.maximum(union, 1)


def changed_pixels(first: Result, second: Result, changes: Sequence[SegmentChange]) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that the changes of `compare_results` cover; each pixel belongs to at most one change.

    Returns a map (H, W) int32 of 1 + the index into `changes`, 0 = nothing changed, and a map (H, W) bool that is true
    where the pixel itself lost, gained or renamed the segment, false where the changed segment kept it. Where changes
    overlap, the smaller one is on top.
    """
    owner = np.zeros(first.segment_map.shape, np.int32)
    moved = np.zeros(owner.shape, bool)
    nowhere = np.zeros(owner.shape, bool)
    regions = []
    for number, change in enumerate(changes, start=1):
        if change.change != "same":
            before = nowhere if change.before is None else first.mask(change.before)
            after = nowhere if change.after is None else second.mask(change.after)
            kept = nowhere if change.change == "renamed" else before & after
            regions.append((number, before | after, kept))
    for number, region, kept in sorted(regions, key=lambda entry: -int(entry[1].sum())):
        owner[region] = number
        moved[region] = ~kept[region]
    return owner, moved


def segment_queries(result: Result) -> dict[int, int]:
    """The object kernel that drew each segment, by segment id; segments made by several kernels are left out."""
    pairs = zip(result.segments, result.queries, strict=True)
    return {segment.id: query for segment, query in pairs if query >= 0}


@dataclass(frozen=True)
class RouterRow:
    """TDEE's two weights for one segment in one decoder layer (counted from 1), averaged over channels, each in 0..1.

    The routers are layer-normalised over channels before the sigmoid, which keeps both means close to 0.5.
    `spatial_share` (0..1), the share of channels whose spatial weight is the larger one, varies more.
    """

    photo: str
    segment: int
    label: str
    is_thing: bool
    layer: int
    mask_weight: float
    spatial_weight: float
    spatial_share: float


def router_rows(decoded: Decoded, result: Result, photo: str = "") -> list[RouterRow]:
    """TDEE's weights for every segment of `result`, which must have been composed from `decoded`.

    Raises `ConfigError` for a model without TDEE and for a photo decoded without `intermediates=True`.
    """
    if decoded.intermediates is None or not decoded.intermediates.routers:
        raise ConfigError("Router weights need a model with TDEE and decode(..., intermediates=True).")
    queries = segment_queries(result)
    rows = []
    for segment in result.segments:
        if segment.id not in queries:
            continue
        for layer, router in enumerate(decoded.intermediates.routers, start=1):
            mask, spatial = (
                weight[0, queries[segment.id]].float() for weight in (router.mask_weight, router.spatial_weight)
            )
            rows.append(
                RouterRow(
                    photo,
                    segment.id,
                    segment.label,
                    segment.is_thing,
                    layer,
                    mask_weight=float(mask.mean()),
                    spatial_weight=float(spatial.mean()),
                    spatial_share=float((spatial > mask).float().mean()),
                )
            )
    return rows


def router_statistics(
    predictor: Predictor, photos: Iterable[ImageSource], vocabulary: Vocabulary | str
) -> list[RouterRow]:
    """Router rows of many photos, with one photo in memory at a time; `photo` is the file name or a number from 1."""
    rows = []
    for number, photo in enumerate(photos, start=1):
        state = predictor.encode_image(photo)
        decoded = predictor.decode(state, vocabulary, intermediates=True)
        rows += router_rows(decoded, predictor.compose(decoded), state.name or str(number))
    return rows


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a value over segments."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class RouterSummary:
    """TDEE's routers in one decoder layer, over all things or all stuff segments of one or more photos."""

    layer: int
    is_thing: bool
    segments: int
    photos: int
    mask_weight: Spread
    spatial_weight: Spread
    spatial_share: Spread


def router_summary(rows: Sequence[RouterRow]) -> list[RouterSummary]:
    """Mean and standard deviation over segments, first things, then stuff, for each layer that has rows."""
    found = []
    for is_thing in (True, False):
        for layer in sorted({row.layer for row in rows}):
            chosen = [row for row in rows if row.layer == layer and row.is_thing == is_thing]
            if not chosen:
                continue
            values = np.array([(row.mask_weight, row.spatial_weight, row.spatial_share) for row in chosen])
            spreads = [Spread(float(mean), float(sd)) for mean, sd in zip(values.mean(0), values.std(0), strict=True)]
            found.append(RouterSummary(layer, is_thing, len(chosen), len({row.photo for row in chosen}), *spreads))
    return found


def axis_limits(values: Sequence[float], around: float = 0.5, minimum: float = 0.05) -> tuple[float, float]:
    """Axis limits within 0..1, multiples of 0.05, that show all `values` and at least `around` ± `minimum`."""
    low, high = min((*values, around - minimum)), max((*values, around + minimum))
    return max(0.0, math.floor(low * 20 + 1e-6) / 20), min(1.0, math.ceil(high * 20 - 1e-6) / 20)


def _around(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )
