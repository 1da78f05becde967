"""How often the classifier names a region right when the region is given: accuracy on true masks, seen and unseen."""

from dataclasses import dataclass

import numpy as np

from eovseg.errors import DataError


@dataclass(frozen=True)
class Accuracy:
    """Share in [0, 1] of `segments` segments whose class is the best, or among the five best; NaN for none.

    `mean_top1` and `mean_top5` average the share of each class, so that a class counts once however common it is.
    """

    top1: float
    top5: float
    mean_top1: float
    mean_top5: float
    segments: int
    classes: int


@dataclass(frozen=True)
class ClassificationReport:
    """Accuracy on true masks over all classes, over those in the training vocabulary, and over the rest."""

    all: Accuracy
    seen: Accuracy
    unseen: Accuracy


def classification_accuracy(scores: np.ndarray, labels: np.ndarray, seen: np.ndarray) -> ClassificationReport:
    """Top-1 and top-5 accuracy of `scores` (n, K) against `labels` (n,), split by `seen` (K,) bool.

    Raises as `true_ranks` does.
    """
    return accuracy_of_ranks(true_ranks(scores, labels, len(seen)), labels, seen)


def true_ranks(scores: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Rank (n,) of each segment's true class among all `classes`, 1 = best: `scores` (n, K), `labels` (n,).

    A tie counts against the true class, so that a constant score earns nothing. Raises `DataError` for shapes that
    disagree, a label outside 0..K-1, or NaN scores.
    """
    scores, labels = np.asarray(scores), np.asarray(labels, dtype=np.int64)
    if scores.ndim != 2 or scores.shape != (len(labels), classes):
        raise DataError(
            f"Scores of shape {scores.shape} do not fit {len(labels)} labels and {classes} classes; "
            "give one row a segment and one column a class."
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(f"Labels run from {labels.min()} to {labels.max()}; allowed are 0 to {classes - 1}.")
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
