"""TDEE off and on, and the changes between two results."""

import numpy as np
import pytest
import torch

from analysis.ablation import (
    RouterRow,
    axis_limits,
    changed_pixels,
    compare_results,
    router_rows,
    router_statistics,
    router_summary,
    segment_overlap,
    segment_queries,
    without_fusion,
)
from eovseg.errors import ConfigError
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.stages import Decoded
from tests.analysis.conftest import WORDS, MakeResult


def test_fusion_off_is_the_mask_embedding_alone(predictor: Predictor, decoded: Decoded) -> None:
    without = without_fusion(predictor)
    layer = without.network.decoder.layers[-1]
    features = torch.randn(1, predictor.config.queries, predictor.config.hidden_dim)
    spatial = torch.randn(1, predictor.config.queries, predictor.config.spatial_dim)
    fused, routers = layer.instance_embedding(features, spatial)
    plain, _ = predictor.network.decoder.layers[-1].instance_embedding(features, None)
    assert routers is None and torch.equal(fused, plain)


def test_only_classes_change_and_the_original_stays(predictor: Predictor, decoded: Decoded) -> None:
    without = without_fusion(predictor)
    off = without.decode(decoded.state, WORDS)
    assert torch.equal(off.logits.mask_logits[-1], decoded.logits.mask_logits[-1])
    assert not torch.allclose(off.logits.class_logits[-1], decoded.logits.class_logits[-1])
    again = predictor.decode(decoded.state, WORDS)
    assert torch.equal(again.logits.class_logits[-1], decoded.logits.class_logits[-1])
    assert without.encode_image(decoded.state.image).features is decoded.state.features  # cached photos are shared


def test_models_without_fusion_are_refused(predictor: Predictor) -> None:
    network = EOVSeg(variant_config("xs").with_changes(fusion="none"), pretrained=True)
    plain = Predictor(network, (), device=torch.device("cpu"), text_weights="plain")
    with pytest.raises(ConfigError, match="cannot be switched off"):
        without_fusion(plain)


FIRST = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 3, 3], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("second", "classes", "expected"),
    [
        (FIRST, [0, 1, 2], ["same", "same", "same"]),
        (FIRST, [1, 1, 2], ["renamed", "same", "same"]),
        (np.where(FIRST == 3, 0, FIRST), [0, 1], ["same", "same", "gone"]),
        (np.where(FIRST == 0, 4, FIRST), [0, 1, 2, 2], ["same", "same", "same", "new"]),
        (np.array([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 3, 0], [0, 0, 0, 0]]), [0, 1, 2], ["same", "same", "reshaped"]),
        (np.array([[2, 2, 1, 1], [2, 2, 1, 1], [3, 3, 3, 3], [0, 0, 0, 0]]), [1, 0, 2], ["same", "same", "same"]),
    ],
)
def test_changes_by_hand(make_result: MakeResult, second: np.ndarray, classes: list[int], expected: list[str]) -> None:
    changes = compare_results(make_result(FIRST, [0, 1, 2]), make_result(second, classes))
    assert [change.change for change in changes] == expected


def test_overlap_and_box_by_hand(make_result: MakeResult) -> None:
    first = make_result(np.array([[1, 1, 0, 0]]), [0])
    second = make_result(np.array([[0, 1, 0, 2]]), [0, 1])
    assert segment_overlap(first, second) == pytest.approx(np.array([[0.5, 0.0]]))
    change = compare_results(first, second)[0]
    assert (change.change, change.box, change.iou) == ("reshaped", (0, 0, 2, 1), 0.5)


def test_empty_results_compare(make_result: MakeResult) -> None:
    nothing, something = make_result(np.zeros((2, 2), int), []), make_result(np.ones((2, 2), int), [0])
    assert compare_results(nothing, nothing) == []
    assert [c.change for c in compare_results(something, nothing)] == ["gone"]
    assert [c.change for c in compare_results(nothing, something)] == ["new"]


def test_changed_pixels_by_hand(make_result: MakeResult) -> None:
    before = make_result(np.array([[1, 1, 1, 1, 2, 2, 3, 0]]), [0, 1, 2])
    # the bus shrinks, 2 is renamed, 3 disappears
    after = make_result(np.array([[1, 1, 1, 0, 2, 2, 4, 3]]), [0, 0, 2, 1])
    changes = compare_results(before, after)
    assert [change.change for change in changes] == ["reshaped", "renamed", "renamed", "new"]
    owner, moved = changed_pixels(before, after, changes)
    assert owner.tolist() == [[1, 1, 1, 1, 2, 2, 3, 4]]
    assert moved.tolist() == [[False, False, False, True, True, True, True, True]]
    assert not changed_pixels(before, before, compare_results(before, before))[0].any()


def test_smaller_changes_lie_on_larger_ones(make_result: MakeResult) -> None:
    before = make_result(np.array([[1, 1, 1, 1, 1, 1, 2]]), [0, 1])
    after = make_result(np.array([[1, 1, 1, 1, 2, 0, 1]]), [0, 2])
    changes = compare_results(before, after)
    assert [change.change for change in changes] == ["reshaped", "gone", "new"]
    owner, moved = changed_pixels(before, after, changes)
    # the person that disappeared is on top of the bus that took its pixel
    assert owner.tolist() == [[1, 1, 1, 1, 3, 1, 2]]
    assert moved.tolist() == [[False, False, False, False, True, True, True]]


def row(photo: str, is_thing: bool, layer: int, share: float) -> RouterRow:
    return RouterRow(photo, 1, "bus", is_thing, layer, 1 - share, share / 2, share)


def test_router_summary_by_hand() -> None:
    rows = [row("a", True, 1, 0.2), row("b", True, 1, 0.6), row("b", False, 2, 0.5)]
    things, stuff = router_summary(rows)
    assert (things.layer, things.segments, things.photos) == (1, 2, 2)
    assert (things.spatial_share.mean, things.spatial_share.deviation) == pytest.approx((0.4, 0.2))
    assert (things.mask_weight.mean, things.spatial_weight.deviation) == pytest.approx((0.6, 0.1))
    assert (stuff.is_thing, stuff.layer, stuff.spatial_share.deviation) == (False, 2, 0.0)
    assert router_summary([]) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.47, 0.52], (0.45, 0.55)), ([0.31], (0.3, 0.55)), ([0.0, 0.99], (0.0, 1.0)), ([], (0.45, 0.55))],
)
def test_the_shown_range_contains_all_values(values: list[float], expected: tuple[float, float]) -> None:
    assert axis_limits(values) == pytest.approx(expected)


def test_queries_and_routers_belong_to_the_segments(predictor: Predictor, decoded: Decoded) -> None:
    result = predictor.compose(decoded)
    segments, queries = result.segments, segment_queries(result)
    assert set(queries) == {segment.id for segment in segments}
    probability = predictor.log_probabilities(decoded).exp()
    for segment in segments:
        assert float(probability[queries[segment.id], segment.class_id]) == pytest.approx(segment.score, abs=1e-5)
    rows = router_rows(decoded, result)
    assert len(rows) == 3 * len(segments)
    for row in rows:
        assert 0 < row.mask_weight < 1 and 0 < row.spatial_weight < 1 and 0 <= row.spatial_share <= 1


def test_router_statistics_of_photos(predictor: Predictor, decoded: Decoded, photo: np.ndarray) -> None:
    rows = router_statistics(predictor, [photo, photo[:, ::-1]], WORDS)
    first = [row for row in rows if row.photo == "1"]
    assert {row.photo for row in rows} <= {"1", "2"}
    own = router_rows(decoded, predictor.compose(decoded), "1")
    assert [row.mask_weight for row in first] == [row.mask_weight for row in own]


def test_routers_need_intermediates(predictor: Predictor, decoded: Decoded) -> None:
    with pytest.raises(ConfigError, match="intermediates=True"):
        router_rows(predictor.decode(decoded.state, WORDS), predictor.compose(decoded))
