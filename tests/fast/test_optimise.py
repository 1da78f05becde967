"""The fast network gives the results of the plain one, with random weights and XS's own, and shares its tensors."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import eovseg
from eovseg.assets import asset_path
from eovseg.fast import FastEOVSeg, optimise, plain_network
from eovseg.model.classifier import class_log_probabilities
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.postprocess import masks_on_photo, panoptic
from eovseg.model.values import TextEmbeddings
from tests.parity import assert_close

NARROW = {"hidden_dim": 32, "queries": 6, "ffn_dim": 32, "aggregator_dim": 16, "spatial_dim": 64}
CHOICES: list[dict[str, Any]] = [
    {},
    {"vas": False},
    {"vas_heads": 4, "vas_offset": True},
    {"fusion": "none"},
    {"fusion": "EAF"},
    {"fusion": "SDI"},
    {"interaction": "DDA"},
    {"interaction": "DDA", "scales": "multi"},
    {"scales": "multi"},
    {"attention_stride": 1, "attention_positions": False, "mask_bias": "none"},
    {"mask_bias": "constant"},
]


def words(count: int, dimension: int, dtype: torch.dtype) -> TextEmbeddings:
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(count, dimension, generator=generator), dim=-1).to(dtype)
    return TextEmbeddings(rows, torch.arange(count) // 2)


def assert_same(network: EOVSeg, tolerance: float, later: float) -> None:
    """Equal within `tolerance` of the range up to the first masks, and within `later` after these become hard masks."""
    dtype = network.pixel_mean.dtype
    pixels = 255 * torch.rand(1, 3, 70, 100, generator=torch.Generator().manual_seed(0)).to(dtype)
    text, fast = words(8, network.config.embed_dim, dtype), optimise(network, "torch")
    with torch.inference_mode():
        expected_features = network.encode_image(pixels)
        expected = network.decode(expected_features, text)
        features = fast.encode_image(pixels)
        whole, last = fast.decode(features, text, intermediates=True), fast.decode(features, text, final_only=True)
    for name in ("aggregated", "spatial", "dense"):
        if getattr(expected_features, name) is not None:
            assert_close(getattr(features, name), getattr(expected_features, name), tolerance)
    assert whole.intermediates is not None and expected.intermediates is not None
    for name in ("selected", "initial_mask_logits", "vas_weights", "vas_attention"):
        if getattr(expected.intermediates, name) is not None:
            assert_close(getattr(whole.intermediates, name), getattr(expected.intermediates, name), tolerance)
    for name in ("object_kernels", "self_attention"):
        for found, wanted in zip(
            getattr(whole.intermediates, name), getattr(expected.intermediates, name), strict=True
        ):
            assert_close(found, wanted, later)
    assert len(whole.intermediates.routers) == len(expected.intermediates.routers)
    assert len(last.mask_logits) == len(last.class_logits) == 1
    for found in (whole, last):
        assert_close(found.mask_logits[-1], expected.mask_logits[-1], later)
        assert_close(found.class_logits[-1], expected.class_logits[-1], later)
        assert_close(found.class_embeddings, expected.class_embeddings, later)
        assert_close(found.out_of_vocabulary_logits, expected.out_of_vocabulary_logits, later)
        assert torch.equal(found.valid_masks, expected.valid_masks)
    for found, wanted in zip(whole.class_logits, expected.class_logits, strict=True):
        assert_close(found, wanted, later)


@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_plain_and_fast_networks_agree(changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = EOVSeg(variant_config("xs").with_changes(**{**NARROW, **changes})).eval().double()
    assert_same(network, 1e-9, 1e-9)


def test_in_float32_up_to_rounding(xs: eovseg.Predictor) -> None:
    """With XS's weights, whose first masks are saturated, so that rounding changes no pixel of a hard mask here."""
    network = plain_network(xs.network)
    pixels = 255 * torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    text, fast = words(8, 384, torch.float32), optimise(network)
    with torch.inference_mode():
        features = network.encode_image(pixels)
        expected, found = network.decode(features, text), fast.decode(features, text)
        assert_close(fast.encode_image(pixels).aggregated, features.aggregated, 3e-6)
    assert_close(found.mask_logits[0], expected.mask_logits[0], 3e-6)
    assert_close(found.out_of_vocabulary_logits, expected.out_of_vocabulary_logits, 3e-6)


@pytest.mark.slow
def test_plain_and_fast_agree_with_an_attention_pool() -> None:
    torch.manual_seed(0)
    assert_same(EOVSeg(variant_config("s").with_changes(queries=12)).eval().double(), 1e-9, 1e-7)


def test_tensors_are_shared_and_conversion_can_be_reversed() -> None:
    network = EOVSeg(variant_config("xs").with_changes(**NARROW))
    fast = optimise(network, "torch")
    own, shared = network.state_dict(keep_vars=True), fast.state_dict(keep_vars=True)
    assert list(own) == list(shared) and all(shared[name] is own[name] for name in own)
    assert type(network) is EOVSeg and isinstance(fast, FastEOVSeg) and fast.image_half is not None
    back = plain_network(fast)
    assert [type(module) for module in back.modules()] == [type(module) for module in network.modules()]
    plain = optimise(network)
    assert optimise(plain, "torch").image_half is not None and plain.image_half is None
    assert optimise(fast).image_half is None and fast.image_half is not None
    assert copy.deepcopy(fast).image_half is None, "a copy's weights may change"


@pytest.mark.parametrize("photo", ["bus-street.jpg", "savanna.jpg"])
def test_plain_and_fast_give_the_same_panoptic_map(photo: str, xs_float64: eovseg.Predictor) -> None:
    predictor = xs_float64
    vocabulary = eovseg.Vocabulary.parse("person; bus; car; road: stuff; sky: stuff; tree: stuff; grass: stuff; zebra")
    with Image.open(asset_path(f"photos/{photo}")) as image:
        state = predictor.encode_image(image.reduce(2), resize=False)
    decoded, config = predictor.decode(state, vocabulary), predictor.config
    seen, is_thing = (torch.from_numpy(np.array(v)) for v in (predictor.seen(vocabulary), vocabulary.is_thing))
    with torch.inference_mode():
        logits = plain_network(predictor.network).decode(state.features, predictor.text_embeddings(vocabulary))
        size = state.image.shape[0], state.image.shape[1]
        masks = masks_on_photo(logits.mask_logits[-1][0], state.features.padded_size, state.features.image_size, size)
    for alpha, overlap in ((config.alpha, config.overlap_threshold), (0.9, 0.3)):
        scores = class_log_probabilities(logits, seen, alpha, config.beta)[0]
        segment_map, records = panoptic(scores, masks, is_thing, config.score_threshold, overlap, config.void_threshold)
        rule: dict[str, Any] = {"composition": "released", "edges": False}
        found = predictor.compose(decoded, alpha=alpha, overlap_threshold=overlap, **rule)
        assert len(records) == len(found.segments) > 1
        assert (found.segment_map == segment_map.numpy()).mean() > 0.99999
        assert [(r.id, r.class_id, r.query) for r in records] == [
            (s.id, s.class_id, q) for s, q in zip(found.segments, found.queries, strict=True)
        ]
