"""Panoptic quality (Kirillov et al. 2019) by the rules of COCO's panopticapi, photo by photo, without files.

A predicted and a true segment match if they have the same class and an IoU > 0.5, where the union excludes pixels that
are void in the truth. A predicted segment without a match is ignored if more than half of it lies on void or on a crowd
of its class; otherwise it is a false positive. A true segment without a match is a false negative unless it is a crowd.
PQ = sum of matched IoU / (TP + FP/2 + FN/2), averaged over the classes with any of the three counts. Areas are counted
in the maps (panopticapi reads those of true segments from the JSON).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from eovseg.errors import DataError
from eovseg.evaluation.means import class_mean

_VOID = 0
_DENSE_LIMIT = 4096


@dataclass(frozen=True)
class SegmentMatch:
    """A predicted and a true segment of one class that overlap with `iou` in (0.5, 1]."""

    predicted_id: int
    true_id: int
    class_index: int
    iou: float


@dataclass(frozen=True)
class Matching:
    """The matches of one photo's segments; ids are those of the two segment maps."""

    matches: tuple[SegmentMatch, ...]
    false_positives: tuple[int, ...]
    forgiven: tuple[int, ...]
    false_negatives: tuple[int, ...]


@dataclass(frozen=True)
class PanopticScore:
    """PQ, SQ and RQ in [0, 1], averaged over `classes` classes; all NaN if there are none."""

    pq: float
    sq: float
    rq: float
    classes: int


@dataclass(frozen=True)
class PanopticReport:
    """Scores of a data set; the per-class arrays are (K,), NaN for classes with neither truth nor prediction."""

    all: PanopticScore
    things: PanopticScore
    stuff: PanopticScore
    seen: PanopticScore | None
    unseen: PanopticScore | None
    pq: np.ndarray
    sq: np.ndarray
    rq: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray


def match_segments(
    predicted_map: np.ndarray,
    predicted_classes: Mapping[int, int],
    true_map: np.ndarray,
    true_classes: Mapping[int, int],
    crowd: Collection[int] = (),
) -> Matching:
    """Matches the predicted segments of one photo with the true ones by panopticapi's rules.

    Both maps are (H, W) integers, 0 = no segment (predicted) or void (true). The mappings give the class index of each
    segment id, and `crowd` are the true ids of crowds. Areas are counted in the maps; panopticapi uses those of the
    annotation file, which differ for ADE20K's stuff, because they include pixels covered by things. True segments may
    be empty (they are missed), predicted ones must not be. Raises `DataError` if the maps differ in size, an id has no
    class, or a predicted segment is empty.
    """
    pairs = shared_pixels(predicted_map, true_map)
    predicted_area = _areas(pairs, 1, predicted_classes, "predicted")
    true_area = _areas(pairs, 0, true_classes, "true")
    empty = [segment for segment in predicted_classes if segment not in predicted_area]
    if empty:
        raise DataError(f"Predicted segments {empty} have no pixels in the segment map; remove them from the list.")

    matches = []
    for (true_id, predicted_id), intersection in pairs.items():
        if _VOID in (true_id, predicted_id) or true_id in crowd:
            continue
        if true_classes[true_id] != predicted_classes[predicted_id]:
            continue
        union = predicted_area[predicted_id] + true_area[true_id] - intersection - pairs.get((_VOID, predicted_id), 0)
        if intersection / union > 0.5:
            matches.append(SegmentMatch(predicted_id, true_id, true_classes[true_id], intersection / union))

    # If a photo has several crowds of one class, the last one counts, as in panopticapi.
    crowd_of_class = {class_index: true_id for true_id, class_index in true_classes.items() if true_id in crowd}
    matched = {match.predicted_id for match in matches}
    found = {match.true_id for match in matches}
    false_positives: list[int] = []
    forgiven: list[int] = []
    for predicted_id, class_index in predicted_classes.items():
        if predicted_id in matched:
            continue
        excused = pairs.get((_VOID, predicted_id), 0)
        if class_index in crowd_of_class:
            excused += pairs.get((crowd_of_class[class_index], predicted_id), 0)
        (forgiven if excused / predicted_area[predicted_id] > 0.5 else false_positives).append(predicted_id)
    false_negatives = (true_id for true_id in true_classes if true_id not in found and true_id not in crowd)
    return Matching(tuple(matches), tuple(false_positives), tuple(forgiven), tuple(false_negatives))


class PanopticQuality:
    """Counts of matched, missed and invented segments per class over any number of photos.

    `is_thing` is (K,) bool. Counts of several processes are combined by `merge(other.state())`.
    """

    def __init__(self, is_thing: np.ndarray) -> None:
        self.is_thing = np.asarray(is_thing, dtype=bool)
        self._iou_sum = np.zeros(len(self.is_thing))
        self._counts = np.zeros((3, len(self.is_thing)), dtype=np.int64)  # true positive, false positive, negative

    def add(
        self,
        predicted_map: np.ndarray,
        predicted_classes: Mapping[int, int],
        true_map: np.ndarray,
        true_classes: Mapping[int, int],
        crowd: Collection[int] = (),
    ) -> Matching:
        """Adds one photo and returns its matches; arguments and errors are those of `match_segments`."""
        matching = match_segments(predicted_map, predicted_classes, true_map, true_classes, crowd)
        for match in matching.matches:
            self._iou_sum[match.class_index] += match.iou
            self._counts[0, match.class_index] += 1
        for predicted_id in matching.false_positives:
            self._counts[1, predicted_classes[predicted_id]] += 1
        for true_id in matching.false_negatives:
            self._counts[2, true_classes[true_id]] += 1
        return matching

    def state(self) -> dict[str, np.ndarray]:
        """The counts so far as arrays, for another process: `iou_sum` (K,) and `counts` (3, K)."""
        return {"iou_sum": self._iou_sum.copy(), "counts": self._counts.copy()}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        """Adds the `state` of another accumulator with the same classes."""
        self._iou_sum += state["iou_sum"]
        self._counts += state["counts"]

    def compute(self, seen: np.ndarray | None = None) -> PanopticReport:
        """Scores of all photos so far; `seen` (K,) bool adds the means over seen and unseen classes."""
        true_positive, false_positive, false_negative = self._counts
        pq, sq, rq = class_scores(self._iou_sum, true_positive, false_positive, false_negative)

        def average(chosen: np.ndarray) -> PanopticScore:
            means = [float(class_mean(values[chosen])) for values in (pq, sq, rq)]
            return PanopticScore(means[0], means[1], means[2], int(np.isfinite(pq[chosen]).sum()))

        return PanopticReport(
            all=average(np.ones_like(self.is_thing)),
            things=average(self.is_thing),
            stuff=average(~self.is_thing),
            seen=None if seen is None else average(np.asarray(seen, dtype=bool)),
            unseen=None if seen is None else average(~np.asarray(seen, dtype=bool)),
            pq=pq,
            sq=sq,
            rq=rq,
            true_positives=true_positive.copy(),
            false_positives=false_positive.copy(),
            false_negatives=false_negative.copy(),
        )


def class_scores(
    iou_sum: np.ndarray, true_positive: np.ndarray, false_positive: np.ndarray, false_negative: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PQ, SQ and RQ in [0, 1] from counts of the same shape; NaN for classes with neither truth nor prediction."""
    weight = true_positive + 0.5 * false_positive + 0.5 * false_negative
    with np.errstate(invalid="ignore"):
        pq, rq = iou_sum / weight, true_positive / weight
    sq = np.divide(iou_sum, true_positive, out=np.zeros(pq.shape), where=true_positive > 0)
    return pq, np.where(weight > 0, sq, np.nan), rq


def shared_pixels(predicted_map: np.ndarray, true_map: np.ndarray) -> dict[tuple[int, int], int]:
    """Number of common pixels of each pair (true id, predicted id); pairs without any are omitted."""
    if predicted_map.shape != true_map.shape:
        raise DataError(
            f"The predicted segment map is {predicted_map.shape} and the true one {true_map.shape}; "
            "both must have the photo's height and width."
        )
    predicted_ids, predicted = _dense(predicted_map)
    true_ids, true = _dense(true_map)
    joint = true.astype(np.int64) * len(predicted_ids) + predicted
    counts = np.bincount(joint.ravel(), minlength=len(true_ids) * len(predicted_ids))
    counts = counts.reshape(len(true_ids), len(predicted_ids))
    return {(true_ids[row], predicted_ids[column]): int(counts[row, column]) for row, column in np.argwhere(counts)}


def _dense(segment_map: np.ndarray) -> tuple[list[int], np.ndarray]:
    """The ids of a segment map, and the map with ids replaced by their indices in that list."""
    if segment_map.size and segment_map.min() >= 0 and segment_map.max() < _DENSE_LIMIT:
        return list(range(int(segment_map.max()) + 1)), segment_map  # avoids sorting all pixels, which is slow
    ids, places = np.unique(segment_map, return_inverse=True)
    return ids.tolist(), places.reshape(segment_map.shape)


def _areas(pairs: Mapping[tuple[int, int], int], side: int, classes: Mapping[int, int], kind: str) -> dict[int, int]:
    """Area in pixels of each non-void id on one side of the pairs (0 true, 1 predicted).

    Raises `DataError` if an id has no class.
    """
    areas: dict[int, int] = {}
    for pair, pixels in pairs.items():
        if pair[side] != _VOID:
            areas[pair[side]] = areas.get(pair[side], 0) + pixels
    unknown = [segment for segment in areas if segment not in classes]
    if unknown:
        raise DataError(f"The {kind} segment map contains ids {unknown[:5]} that are not in its list of segments.")
    return areas
