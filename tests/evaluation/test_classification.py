"""Accuracy on true masks, checked manually."""

import numpy as np
import pytest

from eovseg.errors import DataError
from eovseg.evaluation.classification import classification_accuracy

SEEN = np.array([True, True, True, True, True, False, False])


def scores_with_rank(label: int, rank: int) -> np.ndarray:
    """Scores of 7 classes in which `label` is the `rank`-th best."""
    scores = np.full(7, -1.0)
    scores[[c for c in range(7) if c != label][: rank - 1]] = 1.0
    scores[label] = 0.0
    return scores


def test_ranks_checked_by_hand() -> None:
    wanted = [(0, 1), (0, 2), (1, 6), (5, 5), (6, 7)]  # (true class, rank of its score)
    scores = np.array([scores_with_rank(label, rank) for label, rank in wanted])
    report = classification_accuracy(scores, np.array([label for label, _ in wanted]), SEEN)
    assert (report.all.top1, report.all.top5, report.all.segments) == pytest.approx((1 / 5, 3 / 5, 5))
    assert (report.seen.top1, report.seen.top5, report.seen.segments) == pytest.approx((1 / 3, 2 / 3, 3))
    assert (report.unseen.top1, report.unseen.top5, report.unseen.segments) == pytest.approx((0, 1 / 2, 2))
    assert (report.seen.mean_top1, report.seen.mean_top5) == pytest.approx((1 / 4, 1 / 2))  # means of (1/2, 0), (1, 0)
    assert (report.all.classes, report.seen.classes, report.unseen.classes) == (4, 2, 2)


def test_a_constant_score_gains_nothing() -> None:
    assert classification_accuracy(np.zeros((3, 7)), np.array([0, 1, 2]), SEEN).all.top5 == 0


def test_no_segment_gives_nan_not_zero() -> None:
    report = classification_accuracy(np.zeros((0, 7)), np.array([], dtype=int), SEEN)
    assert np.isnan(report.all.top1)
    assert report.unseen.segments == 0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 7)), [0], "do not match 1 labels and 7 classes"),
        (np.zeros((1, 7)), [7], "allowed are 0 to 6"),
        (np.full((1, 7), np.nan), [0], "NaN"),
    ],
)
def test_wrong_arrays_are_refused(scores: np.ndarray, labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        classification_accuracy(scores, np.array(labels), SEEN)
