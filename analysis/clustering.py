"""Clusters of patch features (Fig. 3 and 9): k-means, matching labels between clusterings, PCA and agreement."""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_mutual_info_score

from eovseg.errors import ConfigError


def cluster(features: Sequence[np.ndarray], k: int, joint: bool = True) -> list[np.ndarray]:
    """k-means of patch features, a list of (h, w, C) float arrays -> label maps (h, w) int32 in 0..k-1.

    `joint`: one clustering over all images, so that a label means the same in each; otherwise one per image. Patch
    vectors are normalised to unit length first. The result is deterministic. Raises `ConfigError` if k is below 1 or
    exceeds the number of patches.
    """
    if not features:
        return []
    groups = [list(range(len(features)))] if joint else [[index] for index in range(len(features))]
    labels: list[np.ndarray] = [np.zeros(0, np.int32)] * len(features)
    for group in groups:
        rows = np.concatenate([_unit(features[index]) for index in group])
        if not 1 <= k <= len(rows):
            raise ConfigError(f"k={k} is outside 1 to {len(rows)}, the number of patches.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct patches than clusters is fine here
            found = KMeans(k, n_init=4, random_state=0).fit_predict(rows).astype(np.int32)
        for index, part in zip(group, np.split(found, np.cumsum(_sizes(features, group))[:-1]), strict=True):
            labels[index] = part.reshape(features[index].shape[:2])
    return labels


def match_labels(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`other` (h, w), relabelled to agree with `reference` (H, W) on as many pixels as possible.

    Hungarian assignment on shared pixels, at the larger of the two sizes. Unmatched labels get unused labels of
    `reference`, then new ones.
    """
    size = (max(reference.shape[0], other.shape[0]), max(reference.shape[1], other.shape[1]))
    first, second = resize_labels(reference, size), resize_labels(other, size)
    count = int(max(first.max(), second.max())) + 1
    shared = np.zeros((count, count), dtype=np.int64)
    np.add.at(shared, (second.ravel(), first.ravel()), 1)
    rows, columns = linear_sum_assignment(-shared)
    renamed = np.zeros(count, dtype=other.dtype)
    renamed[rows] = columns
    return renamed[other]


def match_all(labels: Sequence[np.ndarray], reference: int = 0) -> list[np.ndarray]:
    """All label maps matched to the one at index `reference`, so that they can share one colour table."""
    return [one if index == reference else match_labels(labels[reference], one) for index, one in enumerate(labels)]


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label map (h, w) resized to (height, width) by nearest neighbour."""
    rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(int)
    return labels[rows[:, None], columns]


def pca_rgb(features: Sequence[np.ndarray], joint: bool = True) -> list[np.ndarray]:
    """The first three principal components as colours: a list of (h, w, C) -> (h, w, 3) float32 in 0..1.

    Each component is scaled from its 1st to its 99th percentile. Signs are fixed, so that equal features give equal
    colours.
    """
    groups = [list(range(len(features)))] if joint else [[index] for index in range(len(features))]
    colours: list[np.ndarray] = [np.zeros(0, np.float32)] * len(features)
    for group in groups:
        rows = np.concatenate([_unit(features[index]) for index in group])
        count = min(3, *rows.shape)
        scores = np.zeros((len(rows), 3), dtype=np.float32)
        if np.ptp(rows, axis=0).any():  # identical patches have no components
            scores[:, :count] = PCA(count, svd_solver="full").fit_transform(rows)
        scores *= np.where(np.median(scores, axis=0) > 0, -1, 1)
        low, high = np.percentile(scores, (1, 99), axis=0)
        scaled = np.clip((scores - low) / np.maximum(high - low, 1e-9), 0, 1).astype(np.float32)
        for index, part in zip(group, np.split(scaled, np.cumsum(_sizes(features, group))[:-1]), strict=True):
            colours[index] = part.reshape(*features[index].shape[:2], 3)
    return colours


def mutual_information(labels: np.ndarray, segment_map: np.ndarray) -> float:
    """Adjusted mutual information (1 = same partition, about 0 = chance) of clusters and segments.

    Clusters are resized to the segment map (H, W); its pixels with id 0 (unlabelled) are ignored. NaN if all are 0.
    """
    known = segment_map != 0
    if not known.any():
        return float("nan")
    resized = resize_labels(labels, (segment_map.shape[0], segment_map.shape[1]))
    return float(adjusted_mutual_info_score(segment_map[known], resized[known]))


def boundary_f_score(labels: np.ndarray, segment_map: np.ndarray, tolerance: int = 3) -> float:
    """F-score (0..1) of the boundaries of clusters against those of segments, both at the segment map's size (H, W).

    A boundary pixel matches if the other map has one within `tolerance` pixels (a square). NaN if neither map has any.
    """
    resized = resize_labels(labels, (segment_map.shape[0], segment_map.shape[1]))
    ours, theirs = borders(resized), borders(segment_map)
    if not ours.any() and not theirs.any():
        return float("nan")
    near = np.ones((2 * tolerance + 1, 2 * tolerance + 1), dtype=bool)
    found = int((ours & binary_dilation(theirs, near)).sum()), int((theirs & binary_dilation(ours, near)).sum())
    precision, recall = found[0] / max(int(ours.sum()), 1), found[1] / max(int(theirs.sum()), 1)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def borders(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose right or lower neighbour has a different label."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def _unit(features: np.ndarray) -> np.ndarray:
    rows = np.asarray(features, dtype=np.float32).reshape(-1, features.shape[-1])
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _sizes(features: Sequence[np.ndarray], group: Sequence[int]) -> list[int]:
    return [features[index].shape[0] * features[index].shape[1] for index in group]
