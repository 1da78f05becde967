"""Percentile bootstrap over photos: how far a figure could lie off because these photos were drawn and not others."""

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def resampled(photos: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each photo is drawn in each resample, (resamples, photos) integers; every row sums to `photos`.

    The same seed gives the same rows, so that two models are compared on the same draws.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(photos, np.full(photos, 1 / photos), size=resamples)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Lower and upper bound of the middle 95 % of `values` (resamples,), NaN left out; NaN where nothing is left."""
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
