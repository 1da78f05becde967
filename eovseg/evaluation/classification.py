"""Accuracy of the classifiers on true masks, for seen and unseen classes."""

from dataclasses import dataclass

import numpy as np

from eovseg.errors import DataError


@dataclass(frozen=True)
class Accuracy:
    """Share in [0, 1] of `segments` segments whose class is the best, or among the five best; NaN if there are none.

    `mean_top1` and `mean_top5` are means over classes, in which each class has the same weight.
    """

    top1: float
    top5: float
    mean_top1: float
    mean_top5: float
    segments: int
    classes: int


@dataclass(frozen=True)
class ClassificationReport:
    """Accuracy on true masks for all classes, for seen and for unseen ones."""

    all: Accuracy
    seen: Accuracy
    unseen: Accuracy


def classification_accuracy(scores: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> ClassificationReport:
    """Top-1 and top-5 accuracy of `scores` (n, K) for `labels` (n,), split by `seen` (K,) bool.

    Raises the errors of `true_ranks`.
    """
    return accuracy_of_ranks(true_ranks(scores, labels, len(seen)), labels, seen)


def true_ranks(scores: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Rank (n,) of each segment's true class among all `classes`, 1 = best: `scores` (n, K), `labels` (n,).

    Ties count against the true class, so that constant scores gain nothing. Raises `DataError` for shapes that do not
    match, labels outside 0..K-1, and NaN scores.
    """
    scores, labels = np.asarray(scores), np.asarray(labels, dtype=np.int64)
    if scores.ndim != 2 or scores.shape != (len(labels), classes):
        raise DataError(
            f"Scores of shape {scores.shape} do not match {len(labels)} labels and {classes} classes; "
            "give one row per segment and one column per class."
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(f"Labels range from {labels.min()} to {labels.max()}; allowed are 0 to {classes - 1}.")
    if np.isnan(scores).any():
        raise DataError("Some classification scores are NaN.")
    return (scores >= scores[np.arange(len(labels)), labels][:, None]).sum(axis=1)


def accuracy_of_ranks(rank: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> ClassificationReport:
    """Accuracy from the rank of each segment's true class (n,), 1 = best, split by `seen` (K,) bool."""
    labels, seen = np.asarray(labels, dtype=np.int64), np.asarray(seen, dtype=bool)
    return ClassificationReport(
        all=_accuracy(rank, labels),
        seen=_accuracy(rank[seen[labels]], labels[seen[labels]]),
        unseen=_accuracy(rank[~seen[labels]], labels[~seen[labels]]),
    )


def _accuracy(rank: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Accuracies from the rank of each segment's true class, 1 = best."""
    if not len(rank):
        return Accuracy(np.nan, np.nan, np.nan, np.nan, 0, 0)
    classes, place = np.unique(labels, return_inverse=True)
    count = np.bincount(place)
    top1, top5 = rank <= 1, rank <= 5
    return Accuracy(
        top1=float(top1.mean()),
        top5=float(top5.mean()),
        mean_top1=float((np.bincount(place, top1) / count).mean()),
        mean_top5=float((np.bincount(place, top5) / count).mean()),
        segments=len(rank),
        classes=len(classes),
    )
