"""Boundary F-score on maps that can be counted manually."""

import numpy as np
import pytest

from eovseg.evaluation.boundaries import BoundaryPixels, boundary_f, boundary_pixels


def halves(column: int, width: int = 20) -> np.ndarray:
    """Segment 1 left of `column`, 2 from it on; 4 rows."""
    return np.where(np.arange(width) < column, 1, 2)[None].repeat(4, 0)


def test_a_boundary_off_by_more_or_less_than_the_tolerance() -> None:
    same = boundary_pixels(halves(10), halves(10), 1)
    assert same == BoundaryPixels(8, 8, 8, 8)  # columns 9 and 10 of 4 rows
    assert boundary_pixels(halves(12), halves(10), 1) == BoundaryPixels(8, 4, 8, 4)  # 11 is near 10, 12 is not
    assert boundary_pixels(halves(15), halves(10), 1) == BoundaryPixels(8, 0, 8, 0)
    assert boundary_f(np.array([same, (8, 4, 8, 4), (8, 4, 8, 8)])) == pytest.approx([1, 0.5, 2 / 3])


def test_the_border_of_the_labelled_area_is_no_outline() -> None:
    true = halves(10)
    true[:, 14:] = 0
    assert boundary_pixels(halves(10), true, 1) == BoundaryPixels(8, 8, 8, 8), "13 beside 14 is not missed"
    for column, counted in ((16, 0), (14, 0), (13, 4)):  # 13 lies within the tolerance of 14, 12 does not
        assert boundary_pixels(halves(column), true, 1) == BoundaryPixels(counted, 0, 8, 0), column
    # With a tolerance of 2, 11 counts and is near 13, but 13 is not a true boundary.
    true[:, :14] = 1
    assert boundary_pixels(halves(11), true, 2) == BoundaryPixels(8, 0, 0, 0)


def test_nothing_found_and_nothing_labelled() -> None:
    nothing = np.zeros((4, 20), dtype=int)
    missed = boundary_pixels(nothing, halves(10), 1)
    assert missed == BoundaryPixels(0, 0, 8, 0) and boundary_f(np.array(missed)) == 0
    assert boundary_f(np.array([(0, 0, 8, 8), (8, 8, 0, 0)])).tolist() == [0, 0], "one side has no boundary"
    unlabelled = boundary_pixels(halves(10), nothing, 1)
    assert unlabelled == BoundaryPixels(0, 0, 0, 0) and np.isnan(boundary_f(np.array(unlabelled)))
