"""One kernel through the layers, and the ensemble on stored logits."""

import numpy as np
import pytest

from analysis.ensemble import class_votes
from analysis.layers import QueryPath, attended_kernels, mask_agreement, query_path
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor
from eovseg.stages import Decoded
from tests.analysis.conftest import WORDS


def test_path_has_init_and_three_layers(predictor: Predictor, decoded: Decoded) -> None:
    path = query_path(predictor, decoded, 5)
    assert path.masks.shape == (4, 60, 100) and path.masks.min() >= 0 and path.masks.max() <= 1
    assert path.attention.shape == (3, 64) and np.allclose(path.attention.sum(1), 1, atol=1e-4)
    assert len(path.classes) == 3 and all(len(best) == 3 for best in path.classes)
    for best in path.classes:
        values = [entry.probability for entry in best]
        assert values == sorted(values, reverse=True) and 0 < sum(values) <= 1.0001


def test_last_classes_are_the_in_vocabulary_ones(predictor: Predictor, decoded: Decoded) -> None:
    path = query_path(predictor, decoded, 5, top=4)
    expected = decoded.logits.class_logits[-1][0, 5].softmax(-1).sort(descending=True).values
    assert [c.probability for c in path.classes[-1]] == pytest.approx(expected.tolist(), abs=1e-6)


def test_agreement_by_hand() -> None:
    masks = np.array([[[1, 1, 0, 0]], [[0, 1, 0, 0]], [[1, 0, 0, 0]]], np.float32)
    assert mask_agreement(QueryPath(0, masks, (), np.zeros((2, 1)))).tolist() == [0.5, 0.0, 1.0]


def test_a_kernel_attends_to_segments_and_to_kernels_without_one() -> None:
    path = QueryPath(1, np.zeros((3, 1, 1), np.float32), (), np.array([[0.2, 0.5, 0.3, 0.0], [0.0, 0.1, 0.2, 0.7]]))
    attended = attended_kernels(path, 1, {7: 0, 8: 1}, top=3)
    assert [(one.query, one.segment, one.share) for one in attended] == [(1, 8, 0.5), (2, None, 0.3), (0, 7, 0.2)]
    assert attended_kernels(path, 2, {}, top=1)[0].query == 3
    for layer in (0, 3):
        with pytest.raises(ConfigError, match="outside 1 to 2"):
            attended_kernels(path, layer, {})


def test_path_refuses_unknown_kernels_and_missing_intermediates(predictor: Predictor, decoded: Decoded) -> None:
    with pytest.raises(ConfigError, match="0 to 63"):
        query_path(predictor, decoded, 64)
    with pytest.raises(ConfigError, match="intermediates=True"):
        query_path(predictor, predictor.decode(decoded.state, WORDS), 0)


def test_votes_show_both_classifiers(predictor: Predictor, decoded: Decoded) -> None:
    votes = class_votes(predictor, decoded, 2, top=3, alpha=0.0, beta=0.0)
    assert [v.score for v in votes] == sorted((v.score for v in votes), reverse=True)
    assert [v.in_vocabulary for v in votes] == sorted((v.in_vocabulary for v in votes), reverse=True)
    assert sum(v.in_vocabulary for v in votes) == pytest.approx(1, abs=1e-5)
    assert {v.label: v.seen for v in votes} == {"bus": True, "person": False, "sky": True}
    assert {v.weighed for v in votes} == {bool(decoded.logits.valid_masks[0, 2])}
    with pytest.raises(ConfigError, match="outside 0 to 63"):
        class_votes(predictor, decoded, -1)
