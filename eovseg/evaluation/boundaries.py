"""Accuracy of segment outlines: boundary F-score of a photo's whole segment map.

A boundary pixel has a neighbour (left, right, above or below) in another segment. Precision is the share of predicted
boundary pixels with a true one within the tolerance, recall the reverse, F their harmonic mean; classes are ignored.
Pixels within the tolerance of an unlabelled pixel are ignored in both maps, because the border of the labelled area is
not an outline. Missed segments lower the recall, so F should be compared only between settings that find the same
segments.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

TOLERANCE = 0.004  # of the photo's diagonal; about 3 pixels of a photo of 640 x 480


class BoundaryPixels(NamedTuple):
    """Numbers of predicted and true boundary pixels of one photo, and how many of each are near the other."""

    predicted: int
    predicted_near: int
    true: int
    true_near: int


def boundary_pixels(predicted_map: np.ndarray, true_map: np.ndarray, tolerance: float | None = None) -> BoundaryPixels:
    """Counts for one photo; both maps are (H, W) integers, 0 = no segment or unlabelled, `tolerance` is in pixels.

    By default, the tolerance is `TOLERANCE` times the diagonal, but at least one pixel.
    """
    if tolerance is None:
        tolerance = max(1.0, TOLERANCE * float(np.hypot(*true_map.shape)))
    predicted, true = boundaries(predicted_map), boundaries(true_map, nothing_is_a_segment=False)
    sure = ~_within(tolerance, true_map == 0)
    counted, wanted = predicted & sure, true & sure
    return BoundaryPixels(
        int(counted.sum()),
        int((counted & _within(tolerance, true)).sum()),
        int(wanted.sum()),
        int((wanted & _within(tolerance, predicted)).sum()),
    )


def boundaries(segment_map: np.ndarray, nothing_is_a_segment: bool = True) -> np.ndarray:
    """Pixels with a neighbour in another segment, (H, W) bool; `nothing_is_a_segment` applies to the id 0."""
    found = np.zeros(segment_map.shape, dtype=bool)
    down, across = segment_map[1:] != segment_map[:-1], segment_map[:, 1:] != segment_map[:, :-1]
    if not nothing_is_a_segment:
        named = segment_map != 0
        down, across = down & named[1:] & named[:-1], across & named[:, 1:] & named[:, :-1]
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= across
    found[:, :-1] |= across
    return found


def boundary_f(counts: np.ndarray) -> np.ndarray:
    """F-score in 0..1 from the columns of `BoundaryPixels`, summed over photos: (..., 4) -> (...).

    0 if one side has no boundary pixels, NaN if neither has.
    """
    predicted, predicted_near, true, true_near = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    precision, recall = predicted_near / np.maximum(predicted, 1), true_near / np.maximum(true, 1)
    both = precision + recall
    score = 2 * precision * recall / np.where(both > 0, both, 1)
    return np.where(predicted + true > 0, score, np.nan)


def _within(tolerance: float, pixels: np.ndarray) -> np.ndarray:
    """The pixels within a distance of `tolerance` of any of `pixels`, both (H, W) bool."""
    if not pixels.any():
        return np.zeros(pixels.shape, dtype=bool)
    near: np.ndarray = ndimage.distance_transform_edt(~pixels) <= tolerance
    return near
