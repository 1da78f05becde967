"""Every module against recordings of the released implementation, in float32, within 1e-4 of the output's range."""

import numpy as np
import pytest
import torch

from eovseg.composition.geometry import MaskGeometry
from eovseg.composition.instance import instances
from eovseg.composition.panoptic import panoptic
from eovseg.composition.semantic import semantic, semantic_argmax
from eovseg.composition.tiles import TiledMasks
from eovseg.model import postprocess
from eovseg.model.aggregator import LiteAggregator
from eovseg.model.classifier import classification_logits, pool_by_masks
from eovseg.model.config import variant_config
from eovseg.model.decoder import Decoder, DecoderLayer, DynamicDepthwiseAttention
from eovseg.model.spatial import SpatialUpscaling
from eovseg.model.tdee import TDEE
from eovseg.model.values import Scene
from eovseg.model.vas import VocabularyAwareSelection
from tests.parity import assert_close, description, load_module, tensors

TOLERANCE = 1e-4
S = variant_config("s").with_changes(queries=12)
MODULES = description("modules")


def keys_under(name: str, prefix: str) -> list:
    return [entry for entry in MODULES[name]["keys"] if entry[0].startswith(prefix)]


@pytest.mark.parametrize("heads", [1, 4])
def test_vas(heads: int) -> None:
    recorded = tensors(f"mod_vas_h{heads}")
    vas = VocabularyAwareSelection(256, 1024, heads).eval()
    load_module(vas, "vas.", MODULES[f"vas_h{heads}"]["keys"])
    with torch.no_grad():
        assert_close(vas(recorded["x"], recorded["guide"]), recorded["y"], TOLERANCE)


def test_dynamic_depthwise_attention() -> None:
    recorded = tensors("mod_dydw")
    module = DynamicDepthwiseAttention(256)
    load_module(module, "decoder.layers.0.interaction.feature_attention.", MODULES["dydw"]["keys"])
    assert_close(module(recorded["query"], recorded["value"]), recorded["y"], TOLERANCE)


def test_tdee() -> None:
    recorded = tensors("mod_tdee")
    module = TDEE(256)
    load_module(module, "decoder.layers.0.fusion.", MODULES["tdee"]["keys"])
    assert_close(module(recorded["update_feature"], recorded["input_feature"]), recorded["y"], TOLERANCE)


def test_decoder_layer() -> None:
    recorded = tensors("mod_cross_atten_head")
    layer = DecoderLayer(S).eval()
    load_module(layer, "decoder.layers.1.", MODULES["cross_atten_head"]["keys"])
    templates = recorded["num_templates"]
    index = torch.arange(len(templates) + 1).repeat_interleave(torch.cat([templates, torch.ones(1)]).long())
    features = recorded["features"]
    with torch.no_grad():
        scene = Scene(features, (), recorded["vit_feats"], recorded["text_classifier"], index, len(templates) + 1)
        output = layer(scene, features, recorded["proposal_kernels"], recorded["mask_preds"])
    assert_close(output.class_logits, recorded["cls_score"], TOLERANCE)
    assert_close(output.mask_logits, recorded["new_mask_preds"], TOLERANCE)
    assert_close(output.kernels.reshape_as(recorded["obj_feat"]), recorded["obj_feat"], TOLERANCE)


def test_mask_pooling() -> None:
    recorded = tensors("mod_mask_pooling")
    assert_close(pool_by_masks(recorded["x"], recorded["mask_resized"]), recorded["y_resized"], TOLERANCE)
    assert_close(pool_by_masks(recorded["x"], recorded["mask_same"]), recorded["y_same"], TOLERANCE)


@pytest.mark.parametrize("case", ["a", "b"])
def test_classification_logits(case: str) -> None:
    recorded = tensors("mod_cls_logits")
    templates = recorded["num_templates"]
    index = torch.arange(len(templates) + 1).repeat_interleave(torch.cat([templates, torch.ones(1)]).long())
    logits = classification_logits(
        recorded["x"], recorded["text_classifier"], index, recorded[f"logit_scale_{case}"], len(templates) + 1
    )
    assert_close(logits, recorded[f"y_{case}"], TOLERANCE)


def test_lite_aggregator() -> None:
    recorded = tensors("mod_lite_aggregator_S")
    module = LiteAggregator((256, 512, 1024, 2048), 128, 256).eval()
    load_module(module, "aggregator.", MODULES["lite_aggregator_S"]["keys"])
    levels = [recorded[f"res{i}"] for i in (2, 3, 4, 5)]
    with torch.no_grad():
        aggregated, _ = module(levels)
        total, (p5, _, _) = module.aggregate(levels)
        first = module.upsamplers[0]
        assert_close(p5, recorded["p5"], TOLERANCE)
        assert_close(first.offset(p5), recorded["offset_mask1"], TOLERANCE)
        assert_close(first.deform(p5), recorded["dcn1"], TOLERANCE)
        assert_close(first(p5), recorded["deform_conv1"], TOLERANCE)
    assert_close(total, recorded["deconv"], TOLERANCE)
    assert_close(aggregated, recorded["y"], TOLERANCE)


def test_decoder() -> None:
    recorded = tensors("mod_lightweight_decoder")
    decoder = Decoder(S, (1024, 512, 256)).eval()
    upscaling = SpatialUpscaling(768)
    vas = VocabularyAwareSelection(256, 1024).eval()
    name, prefix = "lightweight_decoder", "light_weight_decoder."
    load_module(upscaling, "spatial_upscaling.", keys_under(name, prefix + "output_upscaling"))
    load_module(vas, "vas.", keys_under(name, prefix + "vas"))
    load_module(
        decoder, "decoder.", keys_under(name, prefix + "mask_heads") + keys_under(name, prefix + "object_kernels")
    )
    templates = recorded["num_templates"]
    index = torch.arange(len(templates) + 1).repeat_interleave(torch.cat([templates, torch.ones(1)]).long())
    with torch.no_grad():
        spatial = upscaling(recorded["vit_feats"])
        selected = vas(recorded["features"], recorded["text_classifier"])
        _, layers = decoder(Scene(selected, (), spatial, recorded["text_classifier"], index, len(templates) + 1))
    assert_close(spatial[:, ::4], recorded["vit_up_c4"], TOLERANCE)
    assert_close(selected[:, ::4], recorded["vas_out_c4"], TOLERANCE)
    for i, layer in enumerate(layers):
        assert_close(layer.class_logits, recorded[f"cls{i}"], TOLERANCE)
        assert_close(layer.mask_logits, recorded[f"mask{i}"], TOLERANCE)


@pytest.mark.parametrize(("score", "overlap"), [(0.0, 0.8), (0.8, 0.8), (0.5, 0.5), (0.0, 0.0), (0.99, 0.8)])
def test_panoptic(score: float, overlap: float) -> None:
    recorded = tensors("mod_postprocess")
    size = tuple(recorded["mask_pred"].shape[-2:])
    is_thing = torch.tensor([True, True, False, False, False])
    tiled = TiledMasks(recorded["mask_pred"], MaskGeometry(size, size, size))
    segment_map, records = panoptic(recorded["mask_cls"], tiled, is_thing, score, overlap)
    case = f"obj{score}_ov{overlap}"
    assert torch.equal(segment_map, recorded[f"panoptic_{case}"].to(torch.int32))
    found = [{"id": r.id, "isthing": r.is_thing, "category_id": r.class_id} for r in records]
    assert found == MODULES["postprocess"]["segments_info"][case]
    plain_map, plain = postprocess.panoptic(recorded["mask_cls"], recorded["mask_pred"], is_thing, score, overlap)
    assert torch.equal(plain_map, segment_map)
    assert [(r.id, r.class_id, r.query) for r in plain] == [(r.id, r.class_id, r.query) for r in records]


def test_semantic() -> None:
    recorded = tensors("mod_postprocess")
    size = tuple(recorded["mask_pred"].shape[-2:])
    geometry = MaskGeometry(size, size, size)
    assert_close(semantic(recorded["mask_cls"], recorded["mask_pred"], geometry), recorded["semantic"], TOLERANCE)
    assert_close(postprocess.semantic(recorded["mask_cls"], recorded["mask_pred"]), recorded["semantic"], TOLERANCE)
    best, score = semantic_argmax(recorded["mask_cls"], recorded["mask_pred"], geometry)
    assert torch.equal(best, recorded["semantic"].argmax(0))
    assert_close(score, recorded["semantic"].amax(0), TOLERANCE)


@pytest.mark.parametrize(("case", "things_only"), [("pan1", True), ("pan0", False)])
def test_instances(case: str, things_only: bool) -> None:
    recorded = tensors("mod_postprocess")
    size = tuple(recorded["mask_pred"].shape[-2:])
    found = instances(
        recorded["mask_cls"],
        recorded["mask_pred"],
        torch.tensor([True, True, False, False, False]),
        MaskGeometry(size, size, size),
        detections=20,
        things_only=things_only,
    )
    things = torch.tensor([True, True, False, False, False])
    plain = postprocess.instances(recorded["mask_cls"], recorded["mask_pred"], things, 20, things_only)
    for one in (found, plain):
        assert_close(one.scores, recorded[f"inst_{case}_scores"], TOLERANCE)
        assert torch.equal(one.labels, recorded[f"inst_{case}_classes"].long())
        assert torch.equal(torch.from_numpy(np.asarray(one.masks)), recorded[f"inst_{case}_masks"].bool())
