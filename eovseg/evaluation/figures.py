"""Computes a report's figures from the counts of its photos, for many weightings of the photos at once.

With weight 1 for every photo, these are the report's numbers; with bootstrap draws, they give its intervals.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eovseg.evaluation.average_precision import ClassMatches
from eovseg.evaluation.bootstrap import draws_of, interval
from eovseg.evaluation.boundaries import boundary_f
from eovseg.evaluation.calibration import BINS, bin_of, calibration_error
from eovseg.evaluation.counts import Counts
from eovseg.evaluation.mask_recall import SHARES, share_name, size_groups
from eovseg.evaluation.means import class_mean, photo_mean, ratio
from eovseg.evaluation.panoptic_quality import class_scores
from eovseg.evaluation.semantic import class_iou
from eovseg.evaluation.true_masks import CLASSIFIERS

Figures = dict[str, np.ndarray]
_RECALLS = np.linspace(0, 1, 101)
_THRESHOLDS = 10
_MAX_ELEMENTS = 2**21


def figures(counts: Counts, weights: np.ndarray) -> Figures:
    """All figures of `counts` in percent, (R,) each, by their names in a report; NaN if there is nothing to count.

    `weights` (R, photos) are the numbers of times that each photo counts. Absent words and cost are not included.
    """
    found: Figures = {}
    if counts.has("panoptic"):
        found |= _panoptic(counts, weights)
    if counts.has("boundaries"):
        table, _ = counts.rows("boundaries")  # one row per photo
        found["boundary F"] = boundary_f(weights @ table)
    if counts.has("instance"):
        found |= average_precision([photo.instance or [] for photo in counts.photos], weights)
    if counts.has("semantic"):
        found |= _semantic(counts, weights)
    if counts.has("regions"):
        found |= _top_k(counts, weights)
    if counts.has("segments"):
        found["calibration error"] = _calibration(counts, weights)
    if counts.has("masks"):
        found |= _mask_recall(counts, weights)
    return {name: 100 * values for name, values in found.items()}


def point_estimates(counts: Counts) -> dict[str, float]:
    """All figures of `counts` in percent, counting each photo once."""
    return {name: float(values[0]) for name, values in figures(counts, draws_of(len(counts.photos), 0)).items()}


def intervals(counts: Counts) -> dict[str, tuple[float, float]]:
    """95 % bootstrap interval of every figure in percent; none for figures without a value, or for a single photo."""
    found = {}
    for name, values in figures(counts, draws_of(len(counts.photos))).items():
        low, high = interval(values[1:], values[0])
        if np.isfinite(low):
            found[name] = (max(low, 0.0), min(high, 100.0))
    return found


def differences(here: Counts, there: Counts) -> dict[str, tuple[float, float, float, float, float]]:
    """For each common figure: here, there, here - there, and the 95 % interval of that difference, in percent.

    Both counts must have the same photos in the same order; each resample draws the same photos for both. Seen and
    unseen classes are those of `here` for both, so that their figures are comparable.
    """
    draws = draws_of(len(here.photos))
    ours, theirs = figures(here, draws), figures(replace(there, seen=here.seen), draws)
    rows = {}
    for name in [name for name in ours if name in theirs]:
        change = ours[name] - theirs[name]
        low, high = interval(change[1:], change[0])
        rows[name] = (float(ours[name][0]), float(theirs[name][0]), float(change[0]), low, high)
    return rows


def _panoptic(counts: Counts, weights: np.ndarray) -> Figures:
    table, classes = counts.per_class("panoptic")
    iou_sum, *segments = np.moveaxis(np.tensordot(weights, table, 1), 1, 0)  # each (R, C)
    scores = class_scores(iou_sum, *segments)
    thing, seen = counts.is_thing[classes], counts.seen[classes]
    found: Figures = {}
    for suffix, chosen in (("", thing | ~thing), (" things", thing), (" stuff", ~thing)):
        for name, values in zip(("PQ", "SQ", "RQ"), scores, strict=True):
            found[name + suffix] = class_mean(values[:, chosen])
    return found | {"PQ seen": class_mean(scores[0][:, seen]), "PQ unseen": class_mean(scores[0][:, ~seen])}


def _semantic(counts: Counts, weights: np.ndarray) -> Figures:
    table, classes = counts.per_class("semantic")
    right, true, predicted = np.moveaxis(np.tensordot(weights, table, 1), 1, 0)
    iou, seen = class_iou(right, true, predicted), counts.seen[classes]
    return {
        "mIoU": class_mean(iou),
        "pixel accuracy": ratio(right.sum(1), true.sum(1)),
        "mIoU seen": class_mean(iou[:, seen]),
        "mIoU unseen": class_mean(iou[:, ~seen]),
    }


def _top_k(counts: Counts, weights: np.ndarray) -> Figures:
    rows, place = counts.rows("regions")
    seen = counts.seen[rows[:, 0].astype(np.int64)]
    found: Figures = {}
    for classifier, rank in zip(CLASSIFIERS, rows[:, 1:].T, strict=True):
        for split, chosen in (("seen", seen), ("unseen", ~seen)):
            for k in (1, 5):
                found[f"{classifier} top-{k} {split}"] = photo_mean(rank[chosen] <= k, place[chosen], weights)
    return found


def _calibration(counts: Counts, weights: np.ndarray) -> np.ndarray:
    rows, place = counts.rows("segments")
    table = np.zeros((weights.shape[1], 3, BINS))
    for sums, values in zip(np.moveaxis(table, 1, 0), (*rows.T, 1.0), strict=True):
        np.add.at(sums, (place, bin_of(rows[:, 0])), values)
    return calibration_error(*np.moveaxis(np.tensordot(weights, table, 1), 1, 0))


def _mask_recall(counts: Counts, weights: np.ndarray) -> Figures:
    rows, place = counts.rows("masks")
    return {
        share_name(share, group): photo_mean(rows[chosen, column], place[chosen], weights)
        for group, chosen in size_groups(rows).items()
        for column, share in enumerate(SHARES, 1)
    }


def average_precision(photos: Sequence[Sequence[ClassMatches]], weights: np.ndarray) -> Figures:
    """AP, AP50 and AP75 in [0, 1], (R,) each, as computed by pycocotools if photo p occurs weights[r, p] times.

    NaN if no class has a true instance.
    """
    by_class: dict[int, list[tuple[int, ClassMatches]]] = {}
    for place, photo in enumerate(photos):
        for matches in photo:
            by_class.setdefault(matches.class_index, []).append((place, matches))
    scores = [_class_precision(matches, weights) for matches in by_class.values()]
    precision = np.array(scores).reshape(-1, len(weights), _THRESHOLDS)  # (C, R, threshold)
    means = [class_mean(precision[..., threshold].T) for threshold in range(_THRESHOLDS)]
    return {"AP": np.mean(means, axis=0), "AP50": means[0], "AP75": means[5]}


def _class_precision(matches: Sequence[tuple[int, ClassMatches]], weights: np.ndarray) -> np.ndarray:
    """Average precision (R, threshold) of one class; NaN for resamples without a true instance."""
    places, entries = zip(*matches, strict=True)
    truths = weights[:, places] @ np.array([entry.truths for entry in entries])  # (R,)
    result = np.where(truths > 0, 0.0, np.nan)[:, None].repeat(_THRESHOLDS, axis=1)
    photo = np.repeat(places, [len(entry.scores) for entry in entries])
    scores, matched, missed = (np.concatenate([entry[column] for entry in entries]) for column in (2, 3, 4))
    order = np.argsort(-scores, kind="stable")
    matched, missed = matched[order].astype(np.int64), missed[order].astype(np.int64)
    last = np.flatnonzero(matched)
    if not len(last):
        return result
    used = slice(0, last[-1] + 1)  # masks after the last match cannot raise the curve
    bits = np.arange(_THRESHOLDS)[:, None]
    hit, miss = (matched[used] >> bits) & 1, (missed[used] >> bits) & 1  # (threshold, D)
    step = max(1, _MAX_ELEMENTS // hit.size)
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        drawn = weights[rows][:, photo[order][used]][:, None]  # (r, 1, D)
        true = np.cumsum(drawn * hit, axis=2)
        total = true + np.cumsum(drawn * miss, axis=2)
        precision = true / np.maximum(total, 1)
        precision = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]  # maximum at this or a higher recall
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = true / truths[rows, None, None]
        passed = np.searchsorted(_RECALLS, recall, side="right")
        result[rows] += (precision * np.diff(passed, axis=2, prepend=0)).sum(axis=2) / len(_RECALLS)
    return result
