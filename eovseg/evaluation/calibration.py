"""Reliability of segment scores (ECE), and detection of segments that fit none of the words."""

from dataclasses import dataclass

import numpy as np

from eovseg.errors import DataError


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: for each bin, the mean confidence, the share that was right, and the number of samples.

    `edges` is (bins + 1,), the other arrays are (bins,), NaN in empty bins. `expected_calibration_error` is the mean
    distance between confidence and accuracy, weighted by count (Guo et al. 2017); NaN without samples.
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    expected_calibration_error: float


@dataclass(frozen=True)
class AbsenceCurve:
    """How well the void probability distinguishes segments whose word is not in the vocabulary from the others.

    For each threshold, in descending order, `detected` is the share of segments without their word at or above it,
    and `false_alarms` that of the others. `area` is the area under this ROC curve: 0.5 is chance, 1 is perfect,
    NaN if one kind of segments is missing.
    """

    thresholds: np.ndarray
    detected: np.ndarray
    false_alarms: np.ndarray
    area: float
    absent: int
    offered: int


BINS = 10


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Reliability:
    """Reliability of `confidence` (n,) in [0, 1] for `correct` (n,) bool in equal bins; the last bin includes 1.

    Raises `DataError` if lengths differ or a confidence is outside [0, 1].
    """
    confidence, correct = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=bool)
    if confidence.shape != correct.shape or confidence.ndim != 1:
        raise DataError(f"The shapes of confidences {confidence.shape} and outcomes {correct.shape} differ.")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise DataError("Confidences must be between 0 and 1.")
    place = bin_of(confidence, bins)
    count = np.bincount(place, minlength=bins)
    total, right = np.bincount(place, confidence, minlength=bins), np.bincount(place, correct, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence, accuracy = total / count, right / count
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        confidence=mean_confidence,
        accuracy=accuracy,
        count=count,
        expected_calibration_error=float(calibration_error(total, right, count)),
    )


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin (n,) of each confidence (n,) in [0, 1]; the last bin includes 1."""
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Expected calibration error (...) from the sum of confidences, number right and size of bins, all (..., bins)."""
    with np.errstate(invalid="ignore"):
        return np.abs(confidence - correct).sum(-1) / count.sum(-1)


def absence_curve(void_probability: np.ndarray, absent: np.ndarray) -> AbsenceCurve:
    """ROC curve of `void_probability` (n,) as a prediction that the true word of a segment is `absent` (n,) bool.

    Raises `DataError` if lengths differ or a probability is NaN.
    """
    void_probability, absent = np.asarray(void_probability, dtype=np.float64), np.asarray(absent, dtype=bool)
    if void_probability.shape != absent.shape or void_probability.ndim != 1:
        raise DataError(f"The shapes of probabilities {void_probability.shape} and flags {absent.shape} differ.")
    if np.isnan(void_probability).any():
        raise DataError("Some void probabilities are NaN.")
    thresholds, place = np.unique(-void_probability, return_inverse=True)  # descending probability
    positives = np.cumsum(np.bincount(place, absent, minlength=len(thresholds)))
    negatives = np.cumsum(np.bincount(place, ~absent, minlength=len(thresholds)))
    absent_count, offered_count = int(absent.sum()), int((~absent).sum())
    with np.errstate(invalid="ignore"):
        detected = np.concatenate([[0.0], positives / absent_count if absent_count else positives * np.nan])
        false_alarms = np.concatenate([[0.0], negatives / offered_count if offered_count else negatives * np.nan])
    return AbsenceCurve(
        thresholds=np.concatenate([[np.inf], -thresholds]),
        detected=detected,
        false_alarms=false_alarms,
        area=float((np.diff(false_alarms) * (detected[1:] + detected[:-1]) / 2).sum()),
        absent=absent_count,
        offered=offered_count,
    )
