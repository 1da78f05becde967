"""Clusters of one photo in every layer of several models, with colours matched across them (Fig. 3 and 9)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.clustering import boundary_f_score, cluster, match_all, mutual_information
from analysis.sources import FeatureSource

PAPER_BLOCKS = ("block 1", "block 6", "block 12")  # the first, the sixth and the last of a ViT-B


@dataclass(frozen=True, eq=False)
class LayerFeatures:
    """Patch features (h, w, C) float32 of a layer, and the milliseconds from the pixels to its output."""

    source: str
    layer: str
    features: np.ndarray
    milliseconds: float


@dataclass(frozen=True, eq=False)
class ClusterCell:
    """A layer's clusters (h, w) int32 in 0..k-1 and how well they agree with segments.

    `mutual_information` is adjusted for chance (1 = same partition, about 0 = chance), `boundary_f_score` is in 0..1;
    both are NaN if there are no segments.
    """

    source: str
    layer: str
    labels: np.ndarray
    milliseconds: float
    mutual_information: float
    boundary_f_score: float


def shown_layers(source: FeatureSource) -> tuple[str, ...]:
    """The layers shown in a figure: the paper's three for a whole ViT-B, all layers for other models."""
    return PAPER_BLOCKS if set(PAPER_BLOCKS) <= set(source.layers) else source.layers


def layer_features(source: FeatureSource, image: np.ndarray, runs: int = 3) -> list[LayerFeatures]:
    """Features and times of `shown_layers(source)` for one photo."""
    wanted = shown_layers(source)
    found = source.extract(image, wanted)
    times = source.time(image, runs)
    milliseconds = dict(zip(times.layers, times.milliseconds.tolist(), strict=True))
    return [LayerFeatures(source.name, layer, found[layer], milliseconds[layer]) for layer in wanted]


def cluster_cells(layers: Sequence[LayerFeatures], k: int, segment_map: np.ndarray) -> list[ClusterCell]:
    """Cluster every layer into k clusters and compare them with a segment map (H, W), 0 = unlabelled.

    Labels are matched to those of the layer that agrees best with the segments (the first layer if there are none), so
    that a region keeps its colour. Raises `ConfigError` if k exceeds the number of patches of a layer.
    """
    clusters = [cluster([layer.features], k)[0] for layer in layers]
    information = [mutual_information(labels, segment_map) for labels in clusters]
    borders = [boundary_f_score(labels, segment_map) for labels in clusters]
    reference = int(np.argmax(np.nan_to_num(information, nan=-1.0))) if layers else 0
    return [
        ClusterCell(layer.source, layer.layer, labels, layer.milliseconds, agreement, score)
        for layer, labels, agreement, score in zip(
            layers, match_all(clusters, reference), information, borders, strict=True
        )
    ]
