"""`python -m eovseg.evaluation.calibrate REPORT`: fits the calibration of segment scores.

It uses the scores in a report of `eovseg evaluate --out`. The photos must be those on which settings are chosen, never
those that numbers are reported for. The model is logit(share right) = slope x logit(score) + bias (Platt 1999), fitted
by maximum likelihood. The slope is positive, so the order of scores does not change.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eovseg.errors import DataError, run_command
from eovseg.evaluation.calibration import reliability
from eovseg.evaluation.stored import read_report

if TYPE_CHECKING:
    from eovseg.evaluation.counts import Counts

FOLDS = 10


@dataclass(frozen=True)
class Fit:
    """Slope and bias, and the expected calibration error in 0..1: uncalibrated, calibrated on the same segments, and
    calibrated on other photos (cross-validation with `folds` folds)."""

    slope: float
    bias: float
    segments: int
    folds: int
    error_before: float
    error_fitted: float
    error_held_out: float


def fit_calibration(scores: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope (above 0) and bias for scores (n,) in 0..1 and whether each segment was right (n,) bool.

    Raises `DataError` if all or none are right, because then there is no solution.
    """
    from scipy.optimize import minimize

    from eovseg.composer import score_logit

    right = np.asarray(right, dtype=bool)
    if right.all() or not right.any():
        raise DataError(
            f"{int(right.sum())} of {len(right)} segments are right; a calibration needs both right and wrong ones."
        )
    logits, signs = score_logit(np.asarray(scores, dtype=np.float64)), np.where(right, 1.0, -1.0)

    def loss(values: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -signs * (np.exp(values[0]) * logits + values[1])).mean())

    log_slope, bias = minimize(loss, np.zeros(2), bounds=[(-7.0, 7.0), (-20.0, 20.0)]).x
    return float(np.exp(log_slope)), float(bias)


def calibrate(counts: "Counts", calibration: tuple[float, float] | None = None, folds: int = FOLDS) -> Fit:
    """Fits a calibration to the segments of some photos; `calibration` is the one already applied to their scores.

    Photos without segments are ignored; there are at most as many `folds` as remaining photos. Raises `DataError` if
    fewer than two photos have segments, or if they or all but one fold have only right or only wrong segments.
    """
    from scipy.special import expit

    from eovseg.composer import score_logit

    rows, place = counts.rows("segments")
    photos, place = np.unique(place, return_inverse=True)
    if len(photos) < 2:
        raise DataError(f"{len(photos)} photos have segments; a calibration needs at least two.")
    scores, right = rows[:, 0], rows[:, 1] > 0
    if calibration is not None:
        scores = expit((score_logit(scores) - calibration[1]) / calibration[0])
    slope, bias = fit_calibration(scores, right)
    held_out = np.empty(len(scores))
    folds = min(folds, len(photos))
    fold = np.random.default_rng(0).permutation(len(photos))[place] % folds
    for number in range(folds):
        apart = fold == number
        if right[~apart].all() or not right[~apart].any():
            kind, count = ("wrong", (~right).sum()) if right[~apart].all() else ("right", right.sum())
            raise DataError(
                f"Only {count} of {len(right)} segments are {kind}, and all are in one of the {folds} groups of photos "
                "used for cross-validation; a calibration needs them in several groups. Evaluate more photos."
            )
        other = fit_calibration(scores[~apart], right[~apart])
        held_out[apart] = expit(other[0] * score_logit(scores[apart]) + other[1])
    fitted = expit(slope * score_logit(scores) + bias)
    before, after, apart_error = (
        reliability(values, right).expected_calibration_error for values in (scores, fitted, held_out)
    )
    return Fit(slope, bias, len(scores), folds, before, after, apart_error)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a fit."""
    parser.add_argument("report", type=Path, help="report folder of `eovseg evaluate --out` with panoptic results")


def run(arguments: argparse.Namespace) -> None:
    """Fits a calibration and prints it with the option of `eovseg export` that stores it; raises `DataError`."""
    report = read_report(arguments.report)
    if not report.counts.has("segments"):
        raise DataError(f"{arguments.report} contains no panoptic results; evaluate the model with --tasks panoptic.")
    fit = calibrate(report.counts, report.settings.get("calibration") or None)
    print(f"{fit.segments} segments of {report.photos} photos; expected calibration error in percent:")
    print(f"{100 * fit.error_before:.1f} of the uncalibrated scores, {100 * fit.error_fitted:.1f} calibrated, ", end="")
    print(f"{100 * fit.error_held_out:.1f} calibrated on other photos ({fit.folds} folds)")
    print(
        f"export with --set calibration={json.dumps([round(fit.slope, 4), round(fit.bias, 4)], separators=(',', ':'))}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m eovseg.evaluation.calibrate`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation.calibrate", description=__doc__)
    add_arguments(parser)
    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
