"""The verdict on each segment of a photo (right, wrong name, bad mask, missed or invented) and its outline.

Matches of PQ are right. The others are classified as in TIDE (Bolya et al. 2020): if a predicted and a true segment
have an IoU > 0.5 but different classes, the name is wrong; if they have the same class but an IoU of 0.1 to 0.5, the
mask is bad. All other predicted segments are invented, and all other true ones are missed. Predictions mostly on
unlabelled pixels, or on a crowd of their class, are not judged.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from eovseg.evaluation.categories import Truth
from eovseg.evaluation.panoptic_quality import Matching, shared_pixels
from eovseg.formats.polygons import edge_polygons
from eovseg.result import Result

Verdict = Literal["right", "wrong name", "bad mask", "missed", "invented", "not judged"]
SIDE = 360  # longer side in pixels of the map from which outlines are made
_MATCH, _TOUCH = 0.5, 0.1
Judgement = tuple[Verdict, int, float]  # verdict, partner, IoU with the partner
_NOT_JUDGED: Judgement = ("not judged", 0, 0.0)
NOTHING = -1  # class of a confusion if no class was predicted or labelled


@dataclass(frozen=True)
class JudgedSegment:
    """A segment: its id and class index, the verdict, and its outline as an SVG path on the small map.

    `partner` is the id of the corresponding segment on the other side, 0 if there is none, and `iou` (0..1) the overlap
    with it. `score` (0..1) is None for true segments. `share` is the segment's share of the photo's pixels.
    """

    id: int
    class_index: int
    verdict: Verdict
    partner: int
    iou: float
    score: float | None
    share: float
    path: str


class Confusion(NamedTuple):
    """Number of pixels with a true class (`NOTHING`: unlabelled) and a predicted class (`NOTHING`: none)."""

    true: int
    predicted: int
    pixels: int


@dataclass(frozen=True)
class PhotoEvidence:
    """One photo: its predicted and true segments, and the confusions of its pixels.

    `size` is the width and height of the small map. `quality` (0..1) is the sum of matched IoU divided by
    TP + FP/2 + FN/2 over all segments, NaN if there are none.
    """

    photo: str
    size: tuple[int, int]
    predicted: tuple[JudgedSegment, ...]
    true: tuple[JudgedSegment, ...]
    confusion: tuple[Confusion, ...]

    @property
    def quality(self) -> float:
        ious = [one.iou for one in self.predicted if one.verdict == "right"]
        wrong = sum(one.verdict not in ("right", "not judged") for one in self.predicted)
        lost = sum(one.verdict not in ("right", "not judged") for one in self.true)
        weight = len(ious) + (wrong + lost) / 2
        return sum(ious) / weight if weight else float("nan")


def photo_evidence(photo: str, truth: Truth, result: Result, matching: Matching) -> PhotoEvidence:
    """The verdicts on the segments of a photo's panoptic `result`; `matching` are the matches of PQ."""
    classes = {segment.id: segment.class_id for segment in result.segments}
    ious = _overlaps(result.segment_map, truth.segment_map)
    found = {match.true_id: (match.predicted_id, match.iou) for match in matching.matches}
    right = {match.predicted_id: (match.true_id, match.iou) for match in matching.matches}
    wrong, lost = set(matching.false_positives), set(matching.false_negatives)
    predicted: dict[int, Judgement] = {i: ("right", other, iou) for i, (other, iou) in right.items()}
    predicted |= dict.fromkeys(matching.forgiven, _NOT_JUDGED)
    true: dict[int, Judgement] = {i: ("right", other, iou) for i, (other, iou) in found.items()}
    true |= dict.fromkeys(truth.crowd, _NOT_JUDGED)
    best: dict[tuple[int, int], tuple[float, int]] = {}  # (side, id): IoU, id of the other side
    for (true_id, predicted_id), iou in ious.items():
        if true_id not in truth.classes or predicted_id not in classes or true_id in truth.crowd:
            continue
        same = truth.classes[true_id] == classes[predicted_id]
        if (same and iou >= _TOUCH) or (not same and iou > _MATCH):
            for key, other in (((0, true_id), predicted_id), ((1, predicted_id), true_id)):
                # A mask that matches well with a wrong name has priority over one that matches badly.
                best[key] = max(best.get(key, (0.0, 0)), (iou, other))
    for one in wrong:
        iou, other = best.get((1, one), (0.0, 0))
        if not other or (other in found and truth.classes[other] == classes[one]):
            predicted[one] = ("invented", 0, 0.0)  # a duplicate of a segment that was already found
        else:
            predicted[one] = (_kind(truth.classes[other] == classes[one]), other, iou)
    for one in lost:
        iou, other = best.get((0, one), (0.0, 0))
        if not other or other not in wrong:
            true[one] = ("missed", 0, 0.0)
        else:
            true[one] = (_kind(truth.classes[one] == classes[other]), other, iou)
    scores = {segment.id: segment.score for segment in result.segments}
    step = max(1, -(-max(truth.segment_map.shape) // SIDE))
    small = [
        segment_map[step // 2 :: step, step // 2 :: step] for segment_map in (result.segment_map, truth.segment_map)
    ]
    height, width = small[0].shape
    return PhotoEvidence(
        photo,
        (width, height),
        tuple(_judged(i, classes[i], predicted[i], scores[i], result.segment_map, small[0]) for i in classes),
        tuple(_judged(i, truth.classes[i], true[i], None, truth.segment_map, small[1]) for i in truth.classes),
        _confusion(result, classes, truth),
    )


def _kind(same_class: bool) -> Verdict:
    return "bad mask" if same_class else "wrong name"


def _judged(
    number: int,
    class_index: int,
    found: Judgement,
    score: float | None,
    segment_map: np.ndarray,
    small: np.ndarray,
) -> JudgedSegment:
    verdict, partner, iou = found
    share = float((segment_map == number).mean())
    return JudgedSegment(number, class_index, verdict, partner, iou, score, share, _path(small == number))


def _path(mask: np.ndarray) -> str:
    """The outline and holes of a mask (h, w) bool as an SVG path in pixels, for the even-odd fill rule."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return ""
    top, left = int(rows[0]), int(columns[0])
    loops = []
    for polygon in edge_polygons(mask[top : rows[-1] + 1, left : columns[-1] + 1]):
        for points in (polygon.outline, *polygon.holes):
            start, steps = points[0] + (left, top), np.diff(points, axis=0)
            sides = (f"h{dx}" if dx else f"v{dy}" for dx, dy in steps.tolist())
            loops.append(f"M{start[0]} {start[1]}{''.join(sides)}z")
    return "".join(loops)


def _overlaps(predicted_map: np.ndarray, true_map: np.ndarray) -> dict[tuple[int, int], float]:
    """IoU of all pairs of overlapping true and predicted segments; as in PQ, the union excludes unlabelled pixels."""
    pairs = shared_pixels(predicted_map, true_map)
    true_area: dict[int, int] = {}
    predicted_area: dict[int, int] = {}
    for (true_id, predicted_id), pixels in pairs.items():
        true_area[true_id] = true_area.get(true_id, 0) + pixels
        predicted_area[predicted_id] = predicted_area.get(predicted_id, 0) + pixels
    return {
        (t, p): pixels / (true_area[t] + predicted_area[p] - pixels - pairs.get((0, p), 0))
        for (t, p), pixels in pairs.items()
        if t and p
    }


def _confusion(result: Result, classes: dict[int, int], truth: Truth) -> tuple[Confusion, ...]:
    """Numbers of pixels by true and predicted class."""
    counts: dict[tuple[int, int], int] = {}
    for (true_id, predicted_id), pixels in shared_pixels(result.segment_map, truth.segment_map).items():
        key = (truth.classes.get(true_id, NOTHING), classes.get(predicted_id, NOTHING))
        counts[key] = counts.get(key, 0) + pixels
    return tuple(Confusion(*pair, pixels) for pair, pixels in sorted(counts.items()))
