"""How well the outlines of segments follow the true ones: boundary F-score of a photo's whole segment map.

A boundary pixel has a neighbour (left, right, above or below) of another segment. Precision is the share of predicted
boundary pixels with a true one within the tolerance, recall the reverse, F their harmonic mean; classes do not matter.
Pixels without a true label are left out on both sides. Segments that were not found lower the recall, so compare F
between settings that find the same segments.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

TOLERANCE = 0.004  # of the photo's diagonal; about 3 pixels of a photo of 640 x 480


class BoundaryPixels(NamedTuple):
    """Boundary pixels of one photo: those predicted and those true, and of each how many lie near the other's."""

    predicted: int
    predicted_near: int
    true: int
    true_near: int


def boundary_pixels(predicted_map: np.ndarray, true_map: np.ndarray, tolerance: float | None = None) -> BoundaryPixels:
    """Count one photo: both maps (H, W) integers, 0 = nothing or not labelled; `tolerance` in pixels.

    By default the tolerance is `TOLERANCE` of the diagonal, at least one pixel.
    """
    if tolerance is None:
        tolerance = max(1.0, TOLERANCE * float(np.hypot(*true_map.shape)))
    predicted, true = boundaries(predicted_map), boundaries(true_map)
    labelled = true_map != 0
    counted, wanted = predicted & labelled, true & labelled
    return BoundaryPixels(
        int(counted.sum()), _near(counted, true, tolerance), int(wanted.sum()), _near(wanted, predicted, tolerance)
    )


def boundaries(segment_map: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels beside a pixel of another segment."""
    found = np.zeros(segment_map.shape, dtype=bool)
    down, across = segment_map[1:] != segment_map[:-1], segment_map[:, 1:] != segment_map[:, :-1]
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= across
    found[:, :-1] |= across
    return found


def boundary_f(counts: np.ndarray) -> np.ndarray:
    """F-score in 0..1 of the columns of `BoundaryPixels`, summed over photos: (..., 4) -> (...); NaN with no pixel."""
    predicted, predicted_near, true, true_near = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = predicted_near / predicted, true_near / true
        score = 2 * precision * recall / (precision + recall)
    return np.where((predicted + true > 0) & ~(predicted_near + true_near > 0), 0.0, score)


def _near(pixels: np.ndarray, others: np.ndarray, tolerance: float) -> int:
    """How many of `pixels` have one of `others` within `tolerance` pixels."""
    if not others.any():
        return 0
    distance = ndimage.distance_transform_edt(~others)
    return int((distance[pixels] <= tolerance).sum())
