"""The rearranged image half in torch gives the network's results and does not change the network."""

import copy
from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn

import eovseg
from eovseg.fast import optimise
from eovseg.fast.folded import FoldedImageHalf
from eovseg.model.backbones import FrozenAttention
from eovseg.model.config import ModelConfig, variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.regression import MaskRegression

SIZE = (1, 3, 96, 160)


def random_norms(network: EOVSeg) -> EOVSeg:
    """Random statistics and weights, so that norms that are not folded, or folded twice, are detected."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                assert tensor is not None
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network


def compare(network: EOVSeg, tolerance: float) -> FoldedImageHalf:
    images = torch.randn(SIZE, generator=torch.Generator().manual_seed(0)).to(network.pixel_mean.dtype)
    half = FoldedImageHalf(optimise(network))
    with torch.inference_mode():
        expected, found = network.encode_normalised(images, (90, 150)), half(images, (90, 150))
        assert (found.pixel_embeddings is None) == (network.vas is None), "the half computes E, `prepare` adds the rest"
        expected, found = optimise(network).prepare(expected), optimise(network).prepare(found)
    compared = 0
    for field in fields(expected):
        one, other = getattr(expected, field.name), getattr(found, field.name)
        pairs = zip(one, other, strict=True) if isinstance(one, tuple) and field.name == "levels" else [(one, other)]
        if isinstance(one, FrozenAttention):
            pairs = [(one.score, other.score), (one.value, other.value)]
        if isinstance(one, MaskRegression):
            pairs = [(one.columns, other.columns), (one.inverse, other.inverse)]
        for a, b in pairs:
            if not isinstance(a, Tensor):
                assert a == b
                continue
            compared += 1
            assert float((a - b).abs().max() / (a.max() - a.min())) < tolerance, field.name
    assert compared >= 2
    return half


def test_xs_with_its_weights(xs: eovseg.Predictor) -> None:
    half = compare(xs.network, 3e-5)
    left = [name for name, m in half.network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all("deform_norm" in name for name in left), left  # not after a convolution module
    assert isinstance(xs.network.image_half, FoldedImageHalf), "`load` prepares the image half"


@pytest.mark.parametrize("changes", [{}, {"vas": False}, {"fusion": "none"}, {"fusion": "EAF"}, {"scales": "multi"}])
def test_other_configurations(changes: dict[str, object]) -> None:
    torch.manual_seed(0)
    config = ModelConfig.from_dict(variant_config("xs").to_dict() | changes)
    compare(random_norms(EOVSeg(config).eval()).double(), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["s", "m", "l"])
def test_published_variants_in_float64(variant: str) -> None:
    torch.manual_seed(0)
    compare(random_norms(EOVSeg(variant_config(variant)).eval()).double(), 1e-10)


@pytest.mark.parametrize("changes", [{}, {"fusion": "EAF"}, {"scales": "multi"}])
def test_the_network_is_not_changed(changes: dict[str, object]) -> None:
    network = EOVSeg(ModelConfig.from_dict(variant_config("xs").to_dict() | changes)).eval()
    kinds = {name: type(module) for name, module in network.named_modules()}
    trained = {name: (id(p), p.requires_grad) for name, p in network.named_parameters()}
    before = copy.deepcopy(network.state_dict())
    half = FoldedImageHalf(optimise(network))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.is_contiguous() for p in network.parameters())
    assert kinds == {name: type(module) for name, module in network.named_modules()}
    assert trained == {name: (id(p), p.requires_grad) for name, p in network.named_parameters()}
    own, shared = dict(network.named_parameters()), dict(half.network.named_parameters())
    assert all(own[name] is shared[name] for name in own if name.startswith(("decoder.", "void_embedding.")))
    linear = [name for name, m in network.feature_extractor.named_modules() if isinstance(m, nn.Linear)]
    assert all(own[f"feature_extractor.{n}.weight"] is shared[f"feature_extractor.{n}.weight"] for n in linear)
