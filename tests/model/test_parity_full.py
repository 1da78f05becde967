"""Complete S and L against the released implementation in float64: within 1e-5 of the range, equal panoptic maps."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from eovseg.composition.geometry import MaskGeometry
from eovseg.composition.panoptic import panoptic
from eovseg.composition.tiles import TiledMasks
from eovseg.fast import optimise
from eovseg.model import postprocess
from eovseg.model.classifier import class_log_probabilities
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.values import ImageFeatures, Logits, TextEmbeddings
from eovseg.official_names import sort_official_keys
from tests.parity import arrays, assert_close, description, fill, official_keys

TOLERANCE = 1e-5
pytestmark = pytest.mark.parity


def build(variant: str) -> EOVSeg:
    torch.set_default_dtype(torch.float32)
    network = EOVSeg(variant_config(variant)).eval()
    shapes = dict(official_keys(variant))
    names = sort_official_keys(shapes).used
    expected = network.state_dict()
    state = {ours: fill(key, shapes[key]).reshape(expected[ours].shape) for key, ours in names.items()}
    network.load_state_dict(state, strict=True)
    return network


class Run(NamedTuple):
    """Output of a variant for the recorded photo and words."""

    variant: str
    recorded: dict[str, np.ndarray]
    network: EOVSeg
    text: torch.Tensor
    features: ImageFeatures
    logits: Logits
    fast_logits: Logits


@pytest.fixture(scope="module", params=["S", "L"])  # module scope, so that all tests of one variant run in a row
def run(request: pytest.FixtureRequest) -> Run:
    variant = request.param
    recorded = arrays(f"full_{variant}_f64")
    network = build(variant)
    classes = [names.replace(", ", ",").split(",") for names in description(f"full_{variant}")["vocab"]]
    with torch.inference_mode():
        # To save minutes, the text encoder uses float32, which changes its output by 4e-7 of the range; the rest is
        # float64 and uses the recorded rows.
        text = network.encode_words([word for words in classes for word in words])
        network.double()
        index = torch.tensor([k for k, words in enumerate(classes) for _ in words])
        features = network.encode_image(torch.from_numpy(recorded["image"])[None].double())
        words = TextEmbeddings(torch.from_numpy(recorded["text_classifier"]), index)
        logits, fast = network.decode(features, words), optimise(network)
        fast_logits = fast.decode(fast.prepare(features), words, intermediates=True)
    return Run(variant, recorded, network, text, features, logits, fast_logits)


def assert_summary(actual: torch.Tensor, recorded: dict[str, Any], name: str) -> None:
    assert tuple(actual.shape) == tuple(recorded[f"{name}__shape"])
    flat = actual.flatten()
    positions = np.linspace(0, flat.numel() - 1, 256).astype(int)
    assert_close(flat[positions], recorded[f"{name}__sample256"], TOLERANCE)
    value_range = float(np.ptp(recorded[f"{name}__sample256"]))
    mean, std = recorded[f"{name}__mean_std"]
    assert abs(flat.mean().item() - mean) <= TOLERANCE * value_range
    assert abs(flat.std(unbiased=False).item() - std) <= TOLERANCE * value_range


def test_text(run: Run) -> None:
    assert_close(run.text, run.recorded["text_classifier"], TOLERANCE)


def test_image_half(run: Run) -> None:
    recorded, network, features = run.recorded, run.network, run.features
    with torch.inference_mode():
        images = network.normalise(torch.from_numpy(recorded["image"])[None].double())
        maps = network.feature_extractor(images)
        fast_aggregated, _ = optimise(network).aggregator(maps.levels)
        assert network.spatial_extractor is not None
        assert_summary(network.spatial_extractor(images), recorded, "vit_feats")
    for name, level in zip(("res2", "res3", "res4", "res5"), maps.levels, strict=True):
        assert_summary(level, recorded, f"cnn_{name}")
    assert_summary(maps.dense, recorded, "cnn_clip_vis_dense")
    assert features.spatial is not None
    assert_summary(features.spatial, recorded, "vit_upscaled")
    assert_summary(features.aggregated, recorded, "neck_feats")
    assert_summary(fast_aggregated, recorded, "neck_feats")


@pytest.mark.parametrize("network", ["readable", "fast"])
def test_word_half(run: Run, network: str) -> None:
    recorded, logits = run.recorded, run.logits if network == "readable" else run.fast_logits
    assert logits.intermediates is not None
    assert_summary(logits.intermediates.selected, recorded, "vas_feats")
    for layer in range(3):
        assert_summary(logits.mask_logits[layer], recorded, f"stage{layer}_mask_logits")
        assert_close(logits.class_logits[layer], recorded[f"stage{layer}_cls_logits"], TOLERANCE)
    assert_close(logits.mask_logits[2][..., ::2, ::2], recorded["stage2_mask_logits_s2"], TOLERANCE)
    assert_close(logits.out_of_vocabulary_logits, recorded["out_vocab_logits"], TOLERANCE)


def test_image_encoder_of_masks(run: Run) -> None:
    recorded, masks = run.recorded, run.logits.mask_logits[-1]
    with torch.inference_mode():
        pooled = run.network.feature_extractor.embed_masks(run.features.dense, masks)
    assert_summary(pooled, recorded, "pooled_clip_feature")
    assert_close(pooled[..., ::4], recorded["pooled_clip_feature_c4"], TOLERANCE)


def test_scores_and_panoptic_maps(run: Run) -> None:
    variant, recorded, network, _, features, logits, _ = run
    seen = torch.from_numpy(recorded["category_overlapping_mask"]).bool()
    scores = class_log_probabilities(logits, seen, network.config.alpha, network.config.beta)[0]
    assert_close(scores, recorded["final_mask_cls"], TOLERANCE)
    names = description(f"full_{variant}")
    is_thing = torch.zeros(len(names["vocab"]), dtype=torch.bool)
    is_thing[names["thing_ids"]] = True
    geometry = MaskGeometry(features.padded_size, features.image_size, features.image_size)
    masks = torch.cat([band for _, band in geometry.bands(logits.mask_logits[-1][0])], dim=1)
    assert_summary(masks, recorded, "final_mask_pred")
    expected = names.get("segments_info_f64", names["segments_info_by_overlap_threshold"])
    on_photo = postprocess.masks_on_photo(
        logits.mask_logits[-1][0], features.padded_size, features.image_size, features.image_size
    )
    tiled = TiledMasks(logits.mask_logits[-1][0], geometry)
    for overlap in (0.8, 0.5, 0.1, 0.0):
        segment_map, records = panoptic(scores, tiled, is_thing, 0.0, overlap)
        key = "panoptic_seg" if overlap == 0.8 else f"panoptic_seg_ov{overlap}"
        assert np.array_equal(segment_map.numpy(), recorded[key].astype(np.int32)), f"overlap threshold {overlap}"
        assert torch.equal(postprocess.panoptic(scores, on_photo, is_thing, 0.0, overlap)[0], segment_map)
        found = [{"id": r.id, "isthing": r.is_thing, "category_id": r.class_id} for r in records]
        assert found == expected[str(overlap)]


@pytest.mark.parametrize("variant", ["S", "M", "L"])
def test_every_official_key_is_used_or_known_to_be_unused(variant: str) -> None:
    shapes = dict(official_keys(variant))
    keys = sort_official_keys(shapes)
    assert keys.unknown == ()
    assert len(keys.used) + len(keys.unused) == len(shapes)
    assert len(set(keys.used.values())) == len(keys.used)
    with torch.device("meta"):
        expected = EOVSeg(variant_config(variant)).state_dict()
    assert set(keys.used.values()) == set(expected)
    assert all(np.prod(shapes[key]) == expected[ours].numel() for key, ours in keys.used.items())
