"""Boxes, areas and calibrated scores equal scipy's, which is not used because it is slow to import."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import expit, logit

from eovseg.composer import _extents, shown_score


def test_areas_and_boxes_are_those_of_the_map() -> None:
    ids = np.random.default_rng(0).integers(0, 7, (9, 11), dtype=np.int32).repeat(3, axis=1)
    ids[ids == 4] = 0
    ids[0, 0], ids[-1, -1] = 7, 8  # single pixels in corners
    extents = _extents(ids, 9)
    assert list(extents) == list(range(1, 10))
    for number, slices in enumerate(ndimage.find_objects(ids, max_label=9), start=1):
        rows, columns = slices or (slice(0, 0), slice(0, 0))
        box = (columns.start, rows.start, columns.stop, rows.stop)
        assert extents[number] == ((ids == number).sum(), box)


def test_calibrated_scores_are_scipys() -> None:
    scores = np.r_[0.0, 0.3, 0.5, 0.65, 1.0, np.random.default_rng(0).uniform(size=100)]
    expected = expit(1.3 * logit(scores.clip(1e-6, 1 - 1e-6)) - 0.2)
    assert [shown_score(score, (1.3, -0.2)) for score in scores.tolist()] == pytest.approx(expected, rel=1e-12)
    assert shown_score(0.0, (1096.0, 0.0)) < 1e-300
