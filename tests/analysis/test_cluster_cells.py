"""Clusters of one photo in several layers: matched labels, and the right numbers for each layer."""

import numpy as np
import pytest

from analysis.cluster_cells import PAPER_BLOCKS, LayerFeatures, cluster_cells, layer_features
from analysis.clustering import boundary_f_score, mutual_information
from analysis.sources import tower_source, vit_source
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor
from tests.analysis.test_features import timm_vit

SEGMENTS = np.repeat(np.array([[1, 1, 2, 2]]), 4, axis=0)


def layer(name: str, groups: list[list[int]]) -> LayerFeatures:
    """Patches whose features point in one of a few directions."""
    return LayerFeatures("drawn", name, np.eye(4, dtype=np.float32)[np.array(groups)], 1.5)


def test_colours_follow_the_layer_that_agrees_best() -> None:
    mixed = layer("mixed", [[0, 1], [0, 1], [1, 0], [1, 0]])
    fitting = layer("fitting", [[0, 0, 1, 1]] * 4)
    turned = layer("turned", [[3, 3, 2, 2]] * 4)
    cells = cluster_cells([mixed, fitting, turned], 2, SEGMENTS)
    assert [cell.layer for cell in cells] == ["mixed", "fitting", "turned"]
    assert (cells[1].labels == cells[2].labels).all(), "the same groups have the same names"
    assert cells[1].mutual_information == pytest.approx(1) and cells[1].boundary_f_score == 1
    for cell in cells:
        assert cell.mutual_information == pytest.approx(mutual_information(cell.labels, SEGMENTS))
        assert cell.boundary_f_score == boundary_f_score(cell.labels, SEGMENTS)


def test_without_segments_the_agreement_is_unknown() -> None:
    cell = cluster_cells([layer("fitting", [[0, 0, 1, 1]] * 4)], 2, np.zeros((4, 4), int))[0]
    assert np.isnan(cell.mutual_information)
    assert cluster_cells([], 2, SEGMENTS) == []


def test_k_must_be_in_range() -> None:
    with pytest.raises(ConfigError, match="k=17"):
        cluster_cells([layer("small", [[0, 0, 1, 1]] * 4)], 17, SEGMENTS)


def test_features_of_the_image_encoder_with_times(predictor: Predictor, photo: np.ndarray) -> None:
    found = layer_features(tower_source(predictor, long_side=128), photo, runs=1)
    assert [one.layer for one in found] == ["stage 1", "stage 2", "stage 3", "stage 4"]
    assert found[0].features.shape == (16, 32, 24)
    assert np.diff([one.milliseconds for one in found]).min() > 0


def test_a_deep_vit_shows_the_papers_blocks(photo: np.ndarray) -> None:
    found = layer_features(vit_source("deep", timm_vit(depth=12), long_side=64), photo, runs=1)
    assert tuple(one.layer for one in found) == PAPER_BLOCKS
