"""Recentred percentile bootstrap over photos: how far a figure could lie off because these photos were drawn and not
others.

Means over classes are biased under resampling: a class found on one photo alone is missed, or left out, in a third of
the draws, which can carry SQ's whole distribution below SQ itself. So this is not the plain percentile interval, whose
bounds are two quantiles of the resamples: both quantiles are moved by the difference between the figure and the
resamples' median. Where that difference is 0 the two are the same. It says nothing of classes that none of the photos
has.
"""

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def draws_of(photos: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each photo is drawn, integers (1 + resamples, photos): once each in the first row, then the resamples.

    The same seed gives the same rows, so that two models are compared on the same draws. A single photo has no spread
    and gets the first row alone.
    """
    once = np.ones((1, photos), dtype=np.int64)
    if photos < 2:
        return once
    random = np.random.default_rng(seed)
    return np.concatenate([once, random.multinomial(photos, np.full(photos, 1 / photos), size=resamples)])


def interval(values: np.ndarray, figure: float) -> tuple[float, float]:
    """Bounds of the middle 95 % of `values` (resamples,), both moved by `figure` less the median of `values`.

    NaN values are left out; both bounds are NaN where nothing is left or the figure is NaN.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, middle, high = np.quantile(values, ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2))
    return float(figure + low - middle), float(figure + high - middle)
