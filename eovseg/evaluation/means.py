"""Means over classes and over photos that count several times, NaN where there is nothing to average."""

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole` of one shape, NaN where both are 0."""
    with np.errstate(invalid="ignore"):
        return part / whole


def class_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes of (..., C) that have a value: (...), NaN where none has."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


def photo_mean(values: np.ndarray, place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean (R,) of `values` (n,) of the photos `place` (n,), when photo p counts `weights` (R, photos) times.

    NaN values are left out.
    """
    known = np.isfinite(values)
    photos = weights.shape[1]
    total = np.bincount(place[known], values[known], minlength=photos)
    return ratio(weights @ total, weights @ np.bincount(place[known], minlength=photos))
