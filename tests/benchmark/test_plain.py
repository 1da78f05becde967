"""The plain implementation gives what the fast one gives, on random weights and on XS's own."""

from typing import Any

import numpy as np
import pytest
import torch

import eovseg
from eovseg.assets import asset_path
from eovseg.benchmark import plain
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg, TextEmbeddings
from eovseg.model.postprocess import MaskGeometry
from tests.parity import assert_close

NARROW = {"hidden_dim": 32, "queries": 6, "ffn_dim": 32, "aggregator_dim": 16, "spatial_dim": 64}
CHOICES: list[dict[str, Any]] = [
    {},
    {"vas": False},
    {"vas_heads": 4},
    {"fusion": "none"},
    {"fusion": "EAF"},
    {"fusion": "SDI"},
    {"interaction": "CA"},
    {"scales": "multi"},
]


def words(count: int, dimension: int) -> TextEmbeddings:
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(count, dimension, generator=generator), dim=-1).double()
    return TextEmbeddings(rows, torch.arange(count) // 2)


def assert_same(network: EOVSeg, pixels: torch.Tensor, text: TextEmbeddings) -> None:
    expected_features = plain.encode_image(network, pixels)
    expected = plain.decode(network, expected_features, text)
    with torch.inference_mode():
        features = network.prepare(network.encode_image(pixels))
        whole = network.decode(features, text, intermediates=True)
        last = network.decode(features, text, final_only=True)
    for name in ("aggregated", "spatial", "dense"):
        if getattr(expected_features, name) is not None:
            assert_close(getattr(features, name), getattr(expected_features, name), 1e-9)
    assert whole.intermediates is not None
    assert_close(whole.intermediates.selected, expected.selected, 1e-9)
    assert_close(whole.intermediates.initial_mask_logits, expected.first_masks, 1e-9)
    assert len(last.mask_logits) == len(last.class_logits) == 1
    for found in (whole, last):
        assert_close(found.mask_logits[-1], expected.logits.mask_logits[-1], 1e-7)
        assert_close(found.class_logits[-1], expected.logits.class_logits[-1], 1e-7)
        assert_close(found.out_of_vocabulary_logits, expected.logits.out_of_vocabulary_logits, 1e-7)
        assert torch.equal(found.valid_masks, expected.logits.valid_masks)
    for layer in range(len(whole.mask_logits)):
        assert_close(whole.class_logits[layer], expected.logits.class_logits[layer], 1e-7)


@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_plain_and_fast_networks_agree(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = EOVSeg(variant_config("xs").with_changes(**{**NARROW, **changes})).eval().double()
    assert_same(network, 255 * torch.rand(1, 3, 70, 100).double(), words(8, 384))


@pytest.mark.slow
def test_plain_and_fast_agree_with_an_attention_pool() -> None:
    torch.manual_seed(0)
    network = EOVSeg(variant_config("s").with_changes(queries=12)).eval().double()
    assert_same(network, 255 * torch.rand(1, 3, 64, 96).double(), words(8, 1024))


@pytest.mark.parametrize("photo", ["bus-street.jpg", "savanna.jpg"])
def test_plain_and_fast_give_one_panoptic_map(photo: str) -> None:
    predictor = eovseg.load("xs", device="cpu", dtype="float64")
    vocabulary = eovseg.Vocabulary.parse("person; bus; car; road: stuff; sky: stuff; tree: stuff; grass: stuff; zebra")
    state = predictor.encode_image(asset_path(f"photos/{photo}"))
    decoded = predictor.decode(state, vocabulary)
    config = predictor.config
    expected = plain.decode(predictor.network, state.features, predictor.text_embeddings(vocabulary))
    size = state.image.shape[:2]
    for alpha, overlap in ((config.alpha, config.overlap_threshold), (0.9, 0.3)):
        segment_map, records = plain.panoptic(
            expected.logits,
            torch.from_numpy(predictor.seen(vocabulary)),
            torch.from_numpy(np.array(vocabulary.is_thing)),
            MaskGeometry(state.features.padded_size, state.features.image_size, (size[0], size[1])),
            alpha,
            config.beta,
            config.score_threshold,
            overlap,
            config.void_threshold,
        )
        rule: dict[str, Any] = {"composition": "released", "edges": False}
        found = predictor.compose(decoded, alpha=alpha, overlap_threshold=overlap, **rule)
        assert len(records) == len(found.segments) > 1
        assert (found.segment_map == segment_map.numpy()).mean() > 0.99999
        assert [(r.id, r.class_id, r.query) for r in records] == [
            (s.id, s.class_id, q) for s, q in zip(found.segments, found.queries, strict=True)
        ]
