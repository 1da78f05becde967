"""Thresholds of the advice: the tables `presence`, `absence` and `sets` of `eovseg.evaluation.advice`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.evaluation.bootstrap import named, roc_area, share_of

if TYPE_CHECKING:
    from eovseg.evaluation.word_values import ListValues, PhotoValues

FOLDS = 10
LEVEL = 0.9
RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
Row = dict[str, Any]


def presence_table(photos: "Sequence[PhotoValues]", alpha: float) -> tuple[list[Row], dict[int, dict[str, float]]]:
    """Rows by length of list, and the thresholds fitted on all photos, by length.

    Rows contain the ROC area, and the false alarms and found words with thresholds fitted on other photos.
    """
    rows: list[Row] = []
    limits: dict[int, dict[str, float]] = {}
    for length, of_photo in _lists(photos):
        evidence = [_evidence(of_photo(photo), alpha) for photo in photos]
        there = [photo.share[of_photo(photo).classes] > 0 for photo in photos]
        rows.append({"words": length} | presence_row(evidence, there))
        limits[length] = {f"{rate}": _upper(evidence, there, rate) for rate in RATES}
    return rows, limits


def presence_row(evidence: Sequence[np.ndarray], there: Sequence[np.ndarray]) -> Row:
    """The figures of one row from the evidence (K,) for the words of each photo, and which of them are in it (K,)."""
    row = named("ROC area", *roc_area(evidence, there))
    for rate in RATES:
        alarms, found = np.zeros((2, len(evidence))), np.zeros((2, len(evidence)))
        for number, threshold in _held_out(len(evidence), partial(_upper, rate=rate), evidence, there):
            said, true = evidence[number] >= threshold, there[number]
            alarms[:, number] = (said & ~true).sum(), (~true).sum()
            found[:, number] = (said & true).sum(), true.sum()
        row |= named(f"false alarms at {rate}", *share_of(*alarms)) | named(f"found at {rate}", *share_of(*found))
    return row


def absence_table(photos: "Sequence[PhotoValues]", alpha: float) -> list[Row]:
    """ROC areas of measures for the absence of a true region's word; words are omitted as by `--absent-words`."""
    rows = []
    for name, measure in _ABSENCE.items():
        values, gone = zip(*(_regions(photo, measure, alpha) for photo in photos if len(photo.regions)), strict=True)
        rows.append({"told by": name} | named("ROC area", *roc_area(values, gone)))
    return rows


def sets_table(photos: "Sequence[PhotoValues]", alpha: float) -> tuple[list[Row], dict[int, float]]:
    """Rows by length of list, and the thresholds fitted on all photos, by length.

    Rows contain the coverage and the number of words per segment, with thresholds fitted on other photos.
    """
    rows: list[Row] = []
    limits: dict[int, float] = {}
    for length, of_photo in _lists(photos):
        segments = [_segments(of_photo(photo), alpha) for photo in photos]
        right = [values for values, _ in segments]
        limits[length] = _lower(right)
        held, sizes = np.zeros((2, len(photos))), []
        for number, threshold in _held_out(len(photos), _lower, right):
            own, among = segments[number]
            # The best word is always included, even if it is below the threshold.
            size = [max(1, int((row >= threshold).sum())) for row in among]
            covered = [p >= threshold or p == row.max() for p, row in zip(own, among, strict=True)]
            held[:, number] = sum(covered), len(covered)
            sizes += size
        row: Row = {"words": length, "segments": int(held[1].sum())} | named("coverage", *share_of(*held))
        set_sizes = np.array(sizes)
        rows.append(
            row
            | {
                "mean words": round(float(set_sizes.mean()), 2),
                "median words": float(np.median(set_sizes)),
                "share with one word": round(float((set_sizes == 1).mean()), 3),
                "share with at most five": round(float((set_sizes <= 5).mean()), 3),
            }
        )
    return rows, limits


def _lists(photos: "Sequence[PhotoValues]") -> "list[tuple[int, Callable[[PhotoValues], ListValues]]]":
    """The lengths of the decoded lists, each with a function that selects the values of that list from a photo."""
    from eovseg.evaluation.word_values import SIZES

    shorter = [(size, lambda photo, place=place: photo.shorter[place]) for place, size in enumerate(SIZES)]
    return [(len(photos[0].full.classes), lambda photo: photo.full), *shorter]


def _evidence(values: "ListValues", alpha: float) -> np.ndarray:
    from eovseg.advice.thresholds import word_evidence

    return word_evidence(values.inside, values.outside, values.valid, alpha)


def among_words(values: "ListValues", alpha: float) -> np.ndarray:
    """Probabilities (Q, K) among the list, as in `words_of_kernels`."""
    from scipy.special import log_softmax, softmax

    weight = alpha * values.valid[:, None]
    mixed = (1 - weight) * log_softmax(values.inside, axis=1) + weight * log_softmax(values.outside, axis=1)
    scores = softmax(mixed, axis=1) * (1 - values.void[:, None]) + 1e-8
    return np.asarray(scores / scores.sum(1, keepdims=True))


def _segments(values: "ListValues", alpha: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """For n segments, the probability of the true word (n,) and those of all words (n arrays (K,)).

    The true word is that of most labelled pixels. Segments without labelled pixels, or whose true class is not in the
    list, are omitted.
    """
    probabilities = among_words(values, alpha)
    place = {int(index): i for i, index in enumerate(values.classes)}
    own, among = [], []
    for segment in values.segments:
        true = int(segment.true_pixels.argmax())
        if segment.true_pixels.any() and true in place:
            own.append(float(probabilities[segment.query, place[true]]))
            among.append(probabilities[segment.query])
    return np.array(own), among


def _regions(photo: "PhotoValues", measure: Callable[..., np.ndarray], alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """For each true region, `measure` of the kernel that covers it best, and whether its word is not in the list."""
    from eovseg.evaluation.word_values import unpacked

    true = (
        unpacked(photo.region_masks, photo.full.grid)[: len(photo.regions)]
        .reshape(len(photo.regions), -1)
        .astype(float)
    )
    values, gone = [], []
    for offered in photo.without:
        masks = unpacked(offered.masks, offered.grid)[: len(offered.void)].reshape(len(offered.void), -1).astype(float)
        shared = true @ masks.T
        best = (shared / np.maximum(true.sum(1)[:, None] + masks.sum(1) - shared, 1)).argmax(1)
        values.append(measure(offered, alpha)[best])
        gone.append(~np.isin(photo.regions, offered.classes))
    return np.concatenate(values), np.concatenate(gone)


def _entropy(values: "ListValues", alpha: float) -> np.ndarray:
    among = among_words(values, alpha)
    return np.asarray(-(among * np.log(among)).sum(1))


_ABSENCE: dict[str, Callable[..., np.ndarray]] = {
    "void probability": lambda values, alpha: values.void,
    "best word's probability": lambda values, alpha: -among_words(values, alpha).max(1),
    "entropy among the words": _entropy,
}


def _upper(evidence: Sequence[np.ndarray], there: Sequence[np.ndarray], rate: float) -> float:
    """The threshold that at most a fraction `rate` of absent words reaches, with the finite-sample correction."""
    absent = np.sort(np.concatenate([own[~true] for own, true in zip(evidence, there, strict=True)]))
    place = int(np.ceil((1 - rate) * (len(absent) + 1)))
    return float(np.nextafter(absent[min(place, len(absent)) - 1], np.inf))


def _lower(right: Sequence[np.ndarray]) -> float:
    """The threshold that the right word reaches in a fraction `LEVEL` of cases, with the finite-sample correction."""
    values = np.sort(np.concatenate(right))
    return float(values[max(int(np.floor((1 - LEVEL) * (len(values) + 1))) - 1, 0)])


def _held_out(count: int, fit: Callable[..., float], *values: Sequence[np.ndarray]) -> list[tuple[int, float]]:
    """For each photo, its number and the threshold fitted to the photos of other folds."""
    fitted = []
    for fold in range(FOLDS):
        others = [[own[i] for i in range(count) if i % FOLDS != fold] for own in values]
        fitted.append(fit(*others))
    return [(number, fitted[number % FOLDS]) for number in range(count)]
