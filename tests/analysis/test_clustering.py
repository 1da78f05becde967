"""Clustering: seeds, matched labels, and agreement on maps small enough to check by eye."""

import math

import numpy as np
import pytest

from analysis.clustering import (
    borders,
    boundary_f_score,
    cluster,
    match_all,
    match_labels,
    mutual_information,
    pca_rgb,
    resize_labels,
)
from eovseg.errors import ConfigError


def blobs(seed: int = 0) -> np.ndarray:
    """(6, 8, 5) features: the left, middle and right parts point in three directions, plus a little noise."""
    rng = np.random.default_rng(seed)
    directions = np.eye(5)[np.repeat([0, 1, 2], [3, 3, 2])]
    return (directions[None] + 0.05 * rng.standard_normal((6, 8, 5))).astype(np.float32)


def test_same_seed_same_labels() -> None:
    noise = np.random.default_rng(1).standard_normal((10, 10, 4)).astype(np.float32)
    assert np.array_equal(cluster([noise], 5)[0], cluster([noise], 5)[0])


def test_clusters_are_the_parts() -> None:
    labels = cluster([blobs()], 3)[0]
    assert labels.shape == (6, 8)
    assert [len(np.unique(labels[:, columns])) for columns in (slice(0, 3), slice(3, 6), slice(6, 8))] == [1, 1, 1]
    assert len(np.unique(labels)) == 3


def test_joint_labels_mean_the_same_in_each_image() -> None:
    first, mirrored = blobs(), blobs(1)[:, ::-1]
    joint = cluster([first, mirrored], 3)
    assert joint[0][0, 0] == joint[1][0, -1] and joint[0][0, -1] == joint[1][0, 0]
    alone = cluster([first, mirrored], 3, joint=False)
    assert np.array_equal(alone[0], cluster([first], 3)[0])


@pytest.mark.parametrize("k", [0, 49])
def test_k_must_be_in_range(k: int) -> None:
    with pytest.raises(ConfigError, match="outside 1 to 48"):
        cluster([blobs()], k)


def test_permuted_copy_gets_its_colours_back() -> None:
    labels = np.random.default_rng(0).integers(0, 6, (12, 9)).astype(np.int32)
    permutation = np.array([3, 5, 0, 1, 4, 2], np.int32)
    assert np.array_equal(match_labels(labels, permutation[labels]), labels)
    assert all(np.array_equal(one, labels) for one in match_all([labels, permutation[labels], labels]))


def test_matching_across_sizes() -> None:
    small = np.array([[0, 1], [2, 2]], np.int32)
    large = resize_labels(np.array([[2, 0], [1, 1]], np.int32), (8, 8))
    assert np.array_equal(match_labels(small, large), resize_labels(small, (8, 8)))
    assert np.array_equal(match_labels(large, small), np.array([[2, 0], [1, 1]]))


def test_matched_labels_stay_distinct() -> None:
    """With more clusters than the reference has, the extra ones keep labels of their own."""
    matched = match_labels(np.zeros((2, 2), np.int32), np.array([[0, 1], [2, 2]], np.int32))
    assert len(np.unique(matched)) == 3 and matched[1, 0] == 0


def test_pca_colours() -> None:
    first, second = pca_rgb([blobs(), blobs()])
    assert first.shape == (6, 8, 3) and np.allclose(first, second, atol=1e-4)
    assert first.min() >= 0 and first.max() <= 1
    # less spread within a part than between parts
    assert np.ptp(first[:, 0], axis=0).max() < np.ptp(first[0], axis=0).max()
    assert np.isfinite(pca_rgb([np.ones((2, 2, 2), np.float32)])[0]).all()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([[0, 0, 1, 1]], 1.0), ([[5, 5, 2, 2]], 1.0), ([[0, 1, 0, 1]], 0.0), ([[0, 0, 0, 0]], 0.0)],
)
def test_mutual_information_by_hand(labels: list[list[int]], expected: float) -> None:
    found = mutual_information(np.array(labels), np.array([[1, 1, 2, 2]]))
    assert found == pytest.approx(expected, abs=1e-6) if expected else found <= 1e-6


def test_unknown_pixels_do_not_count() -> None:
    truth = np.array([[1, 1, 2, 2, 0, 0]])
    assert mutual_information(np.array([[0, 0, 1, 1, 0, 1]]), truth) == pytest.approx(1)
    assert math.isnan(mutual_information(np.array([[0, 1]]), np.array([[0, 0]])))


def test_borders_by_hand() -> None:
    assert borders(np.array([[0, 0, 1], [0, 0, 1]])).tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize(
    ("column", "tolerance", "expected"), [(4, 0, 1.0), (5, 0, 0.0), (5, 1, 1.0), (8, 3, 0.0), (7, 3, 1.0)]
)
def test_boundary_score_by_hand(column: int, tolerance: int, expected: float) -> None:
    truth = np.repeat([[1] * 4 + [2] * 8], 6, axis=0)
    labels = np.repeat([[0] * column + [1] * (12 - column)], 6, axis=0)
    assert boundary_f_score(labels, truth, tolerance) == pytest.approx(expected)


def test_boundary_score_counts_both_ways() -> None:
    truth = np.repeat([[1] * 4 + [2] * 8], 6, axis=0)
    labels = np.repeat([[0] * 4 + [1] * 4 + [2] * 4], 6, axis=0)  # finds the boundary and adds a false one
    assert boundary_f_score(labels, truth, 0) == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert math.isnan(boundary_f_score(np.zeros((2, 2), int), np.ones((2, 2), int)))
