"""Recentred percentile bootstrap over photos: the uncertainty of a figure due to the choice of photos.

Means over classes are biased under resampling: a class that occurs in one photo only is missing from a third of the
resamples, which can shift SQ's whole distribution below SQ itself. Therefore, both quantiles of the usual percentile
interval are shifted by the difference between the figure and the median of the resamples. If that is 0, the interval is
the usual one. It does not account for classes that occur in none of the photos.
"""

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


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


def interval(values: np.ndarray, figure: float) -> tuple[float, float]:
    """Bounds of the middle 95 % of `values` (resamples,), both shifted by `figure` - median of `values`.

    NaN values are ignored; both bounds are NaN if there are no others or the figure is NaN.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, middle, high = np.quantile(values, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    return float(figure + low - middle), float(figure + high - middle)
