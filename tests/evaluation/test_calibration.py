"""Reliability bins and the absence curve, checked manually and compared with scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from eovseg.errors import DataError
from eovseg.evaluation.calibration import absence_curve, reliability


def test_bins_checked_by_hand() -> None:
    report = reliability(np.array([0.0, 0.1, 0.5, 0.9, 1.0]), np.array([False, True, True, True, False]), bins=2)
    assert report.count.tolist() == [2, 3]
    assert report.confidence == pytest.approx([0.05, 0.8])
    assert report.accuracy == pytest.approx([0.5, 2 / 3])
    assert report.expected_calibration_error == pytest.approx((0.45 * 2 + (0.8 - 2 / 3) * 3) / 5)
    assert report.edges.tolist() == [0.0, 0.5, 1.0]


def test_calibrated_scores_have_no_error_and_empty_bins_do_not_count() -> None:
    report = reliability(np.full(4, 0.75), np.array([True, True, True, False]), bins=10)
    assert report.expected_calibration_error == pytest.approx(0)
    assert np.isnan(report.accuracy[0])
    assert report.count.sum() == 4
    assert np.isnan(reliability(np.array([]), np.array([], dtype=bool)).expected_calibration_error)


@pytest.mark.parametrize("confidence", [[1.1], [-0.1], [np.nan], [0.5, 0.5]])
def test_wrong_confidences_are_refused(confidence: list[float]) -> None:
    with pytest.raises(DataError):
        reliability(np.array(confidence), np.array([True]))


def test_void_probability_that_separates_absent_words() -> None:
    curve = absence_curve(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
    assert (curve.area, curve.absent, curve.offered) == (1.0, 2, 2)
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.2, 0.1]
    assert curve.detected.tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert curve.false_alarms.tolist() == [0.0, 0.0, 0.0, 0.5, 1.0]
    assert absence_curve(np.full(4, 0.3), np.array([True, True, False, False])).area == 0.5
    assert np.isnan(absence_curve(np.full(2, 0.3), np.array([True, True])).area)


def test_curve_equals_scikit_learn_with_ties() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        absent = random.random(40) < 0.4
        probability = np.round(random.random(40) * 0.7 + absent * 0.3, 1)
        curve = absence_curve(probability, absent)
        false_alarms, detected, _ = metrics.roc_curve(absent, probability, drop_intermediate=False)
        np.testing.assert_allclose(curve.detected, detected)
        np.testing.assert_allclose(curve.false_alarms, false_alarms)
        assert curve.area == pytest.approx(metrics.roc_auc_score(absent, probability))


@pytest.mark.parametrize("probability", [[np.nan, 0.5], [0.5]])
def test_wrong_probabilities_are_refused(probability: list[float]) -> None:
    with pytest.raises(DataError):
        absence_curve(np.array(probability), np.array([True, False]))
