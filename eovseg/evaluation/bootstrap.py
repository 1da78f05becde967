"""Recentred percentile bootstrap over photos: the uncertainty of a figure due to the choice of photos.

Means over classes are biased under resampling: a class that occurs in one photo only is missing from a third of the
resamples, which can shift SQ's whole distribution below SQ itself. Therefore, both quantiles of the usual percentile
interval are shifted by the difference between the figure and the median of the resamples. If that is 0, the interval is
the usual one. It does not account for classes that occur in none of the photos.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
INTERVAL = "95 % interval over photos"  # heading of its column
FEW_PHOTOS = 20


def draws_of(photos: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each photo is drawn, integers (1 + resamples, photos): once each in the first row, then the resamples.

    The same seed gives the same rows, so that two models are compared on the same draws. For a single photo, which has
    no spread, there is only the first row.
    """
    once = np.ones((1, photos), dtype=np.int64)
    if photos < 2:
        return once
    random = np.random.default_rng(seed)
    return np.concatenate([once, random.multinomial(photos, np.full(photos, 1 / photos), size=resamples)])


def warning(photos: int) -> str:
    """A sentence if intervals over so few photos are unreliable, else ""; for a single photo, there are none."""
    if not 1 < photos < FEW_PHOTOS:
        return ""
    return f"Warning: {photos} photos are too few for reliable intervals; use at least {FEW_PHOTOS}."


def interval(values: np.ndarray, figure: float) -> tuple[float, float]:
    """Bounds of the middle 95 % of `values` (resamples,), both shifted by `figure` - median of `values`.

    NaN values are ignored; both bounds are NaN if there are no others or the figure is NaN.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, middle, high = np.quantile(values, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    return float(figure + low - middle), float(figure + high - middle)


def share_of(part: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
    """Sum of `part` divided by the sum of `whole`, both with one number per photo, and its interval."""
    draws = draws_of(len(part))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = (draws @ part) / (draws @ whole)
    return (float(shares[0]), *interval(shares[1:], float(shares[0])))


def roc_area(values: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Area under the ROC curve of `values` as predictions of `true`, one array per photo, and its interval."""
    photo = np.repeat(np.arange(len(values)), [len(own) for own in values])
    value, positive = np.concatenate(values), np.concatenate(true)
    order = np.argsort(value, kind="stable")
    photo, positive = photo[order], positive[order]
    _, group = np.unique(value[order], return_inverse=True)
    areas = []
    for draw in draws_of(len(values)):
        weight = draw[photo].astype(float)
        right = np.bincount(group, weight * positive)
        wrong = np.bincount(group, weight * ~positive)
        areas.append((right * (np.cumsum(wrong) - wrong / 2)).sum() / (right.sum() * wrong.sum()))
    return (float(areas[0]), *interval(np.array(areas[1:]), float(areas[0])))


def named(name: str, value: float, low: float, high: float) -> dict[str, Any]:
    """A figure and its interval as columns of a table."""
    return {name: round(value, 4), f"{name}, low": round(low, 4), f"{name}, high": round(high, 4)}
