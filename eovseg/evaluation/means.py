"""Means over classes and over weighted photos; NaN if there is nothing to average."""

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole`, arrays of the same shape; NaN where both are 0."""
    with np.errstate(invalid="ignore"):
        return part / whole


def class_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the classes that have a value: (..., C) -> (...); NaN if none has."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(-1), known.sum(-1))


def photo_mean(values: np.ndarray, place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean (R,) of `values` (n,) that belong to the photos `place` (n,), with `weights` (R, photos).

    NaN values are ignored.
    """
    known = np.isfinite(values)
    photos = weights.shape[1]
    total = np.bincount(place[known], values[known], minlength=photos)
    return ratio(weights @ total, weights @ np.bincount(place[known], minlength=photos))
