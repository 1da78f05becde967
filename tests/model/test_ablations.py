"""Every choice of Tables 3, 4 and 5 can be built, returns the right shapes, and trains exactly its own parts."""

from typing import Any

import pytest
import torch

from eovseg.errors import ConfigError
from eovseg.fast import optimise
from eovseg.fast.decoder import FastCrossAttention
from eovseg.model.aggregator import DeformableUpsample
from eovseg.model.config import ModelConfig, variant_config
from eovseg.model.decoder import CrossAttentionInteraction
from eovseg.model.network import EOVSeg
from eovseg.model.spatial import SpatialExtractor
from eovseg.model.values import TextEmbeddings

CHOICES: list[dict[str, Any]] = [
    {},
    {"vas": False},
    {"vas_heads": 4},
    *({"fusion": fusion, "vas": vas} for fusion in ("none", "EAF", "SDI") for vas in (True, False)),
    {"interaction": "CA"},
    {"interaction": "CA", "scales": "multi"},
    {"interaction": "CA", "attention_stride": 4, "mask_bias": "constant"},
    {"interaction": "CA", "attention_positions": True, "mask_bias": "quadratic"},
    {"vas_offset": False},
    {"scales": "multi"},
    {"ensemble": "arithmetic"},
]


@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_shapes_and_gradients(build: Any, words: TextEmbeddings, changes: dict[str, Any]) -> None:
    network = optimise(build(**changes)).train()
    features = network.encode_image(255 * torch.rand(2, 3, 50, 70))  # padded to 64 x 96
    extra = torch.randn(2, 3, 16, 24)
    logits = network.decode(features, words, extra_masks=extra, intermediates=True)
    assert features.padded_size == (64, 96)
    assert features.image_size == (50, 70)
    assert [tuple(m.shape) for m in logits.mask_logits] == [(2, 6, 16, 24)] * 3
    assert [tuple(c.shape) for c in logits.class_logits] == [(2, 6, 4)] * 3
    assert [tuple(m.shape) for m in logits.extra_mask_logits] == [(2, 3, 16, 24)] * 3
    assert logits.out_of_vocabulary_logits.shape == (2, 6, 4)
    assert logits.intermediates is not None
    assert len(logits.intermediates.self_attention) == 3
    assert len(logits.intermediates.routers) == (3 if network.config.fusion == "TDEE" else 0)
    assert (logits.intermediates.vas_weights is None) == (not network.config.vas)
    loss = sum(
        (x**2).mean() + x.mean()
        for group in (logits.mask_logits, logits.class_logits, logits.extra_class_logits)
        for x in group
    )
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_plain_and_fast_networks_have_the_same_gradients(
    build: Any, words: TextEmbeddings, changes: dict[str, Any]
) -> None:
    network: EOVSeg = build(**changes).double().train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0  # the second pass starts with the same statistics
        elif isinstance(module, DeformableUpsample):
            torch.nn.init.normal_(module.offset.weight, std=0.01)  # bilinear sampling has a kink at 0
    pixels, text = 255 * torch.rand(2, 3, 50, 70).double(), TextEmbeddings(words.embeddings.double(), words.class_index)
    found = []
    for one in (network, optimise(network)):
        logits = one.decode(one.encode_image(pixels), text)
        loss = sum((x**2).mean() for group in (logits.mask_logits, logits.class_logits) for x in group)
        assert isinstance(loss, torch.Tensor)
        loss.backward()
        found.append((loss.item(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}))
        network.zero_grad()
    (loss_of_one, readable), (loss_of_other, fast) = found
    assert loss_of_one == pytest.approx(loss_of_other, rel=1e-9)
    assert readable.keys() == fast.keys()
    largest = max(gradient.abs().max() for gradient in readable.values())
    for name, gradient in readable.items():
        assert (gradient - fast[name]).abs().max() <= 1e-7 * gradient.abs().max() + 1e-12 * largest, name


@pytest.mark.parametrize("heads", [1, 4])
def test_cross_attention_is_torchs_own_with_a_mask(heads: int) -> None:
    torch.manual_seed(0)
    interaction = FastCrossAttention(8, heads).double()
    kernels, features, masks = (torch.randn(*size).double() for size in ((2, 3, 8), (2, 8, 4, 6), (2, 3, 4, 6)))
    masks[0, 1] = -1.0  # an empty mask attends to all pixels
    outside = (masks <= 0).flatten(2)
    outside[0, 1] = False
    pixels = features.flatten(2).transpose(1, 2)
    mask = outside.repeat_interleave(heads, dim=0)
    expected, _ = interaction.attention(kernels, pixels, pixels, attn_mask=mask, need_weights=False)
    found = interaction(kernels, features, masks)
    assert torch.allclose(found, interaction.norm(kernels + expected), atol=1e-12)
    readable = CrossAttentionInteraction.attend(interaction, kernels, pixels, outside)
    assert torch.allclose(readable, expected, atol=1e-12)


def test_none_builds_no_spatial_extractor(build: Any) -> None:
    names = [name for name, _ in build(fusion="none").named_parameters()]
    assert not any("spatial" in name for name in names)


def test_own_queries_do_not_see_extra_ones(build: Any, words: TextEmbeddings) -> None:
    network = optimise(build()).eval()
    with torch.inference_mode():
        features = network.encode_image(255 * torch.rand(1, 3, 64, 64))
        alone = network.decode(features, words)
        together = network.decode(features, words, extra_masks=torch.randn(1, 4, 16, 16))
    torch.testing.assert_close(alone.mask_logits[-1], together.mask_logits[-1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone.class_logits[-1], together.class_logits[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["CLIP", "DINOv2", "SAM"])
@pytest.mark.parametrize("block", [0, 5])
def test_published_spatial_extractors(kind: Any, block: int) -> None:
    extractor = SpatialExtractor(kind, block).eval()
    assert len(extractor.vit.blocks) == block + 1  # later blocks are not even built
    with torch.inference_mode():
        assert extractor(torch.randn(1, 3, 64, 96)).shape == (1, 768, 4, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"fusion": "SUM"}, {"alpha": 1.5}, {"spatial_block": 12}, {"variant": "xl"}, {"colour": 1},
        {"embed_dim": 96, "vas_heads": 64},
    ],
)  # fmt: skip
def test_invalid_choices_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        variant_config("xs").with_changes(**changes)
    assert str(caught.value).endswith(".")


def test_config_survives_json() -> None:
    for variant in ("xs", "s", "m", "l"):
        config = variant_config(variant)
        assert ModelConfig.from_dict(config.to_dict()) == config
        assert ModelConfig.from_dict({**config.to_dict(), "class_dropout": 0}).class_dropout == 0, "as --set may write"
