"""OpenVINO's image half against torch's, kept on disk; what cannot be is one sentence."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eovseg
from eovseg.assets import asset_path
from eovseg.backends import openvino
from eovseg.errors import ConfigError
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg

NARROW = {"hidden_dim": 32, "queries": 6, "ffn_dim": 32, "aggregator_dim": 16, "spatial_dim": 64}


def network(**changes: Any) -> EOVSeg:
    torch.manual_seed(0)
    return EOVSeg(variant_config("xs").with_changes(**{**NARROW, **changes})).eval()


def same(half: openvino.OpenVINOImageHalf, net: EOVSeg, height: int, width: int) -> None:
    pixels = 255 * torch.rand(1, 3, height, width)
    with torch.inference_mode():
        wanted = net.prepare(net.encode_image(pixels))
        found = half(net.normalise(pixels), (height, width))
    assert found.image_size == wanted.image_size and found.padded_size == wanted.padded_size
    for name in ("aggregated", "dense", "spatial", "pixel_embeddings"):
        one, other = getattr(wanted, name), getattr(found, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            assert (one - other).abs().max() <= openvino.TOLERANCE * (one.max() - one.min())


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"vas": False, "fusion": "none"}, {"fusion": "EAF"}], ids=str)
def test_every_size_from_one_conversion(changes: dict[str, Any], tmp_path: Path) -> None:
    net = network(**changes)
    half = openvino.load(net, tmp_path)
    for size in ((96, 128), (70, 100), (256, 256), (33, 300)):
        same(half, net, *size)


@pytest.mark.slow
def test_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    openvino.load(net, tmp_path)
    assert len(list((tmp_path / "openvino").iterdir())) == 2  # the graph and its weights, nothing unfinished

    def convert(*_: Any) -> None:
        raise AssertionError("converted again")

    with monkeypatch.context() as patch:
        patch.setattr(openvino, "_convert", convert)
        same(openvino.load(net, tmp_path), net, 64, 96)
        with torch.no_grad():
            next(iter(net.aggregator.parameters())).add_(1e-3)
        with pytest.raises(AssertionError, match="converted again"):  # other weights are another file
            openvino.load(net, tmp_path)


@pytest.mark.slow
def test_other_numbers_than_torch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    monkeypatch.setattr(openvino, "TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="gives other numbers than torch on this machine"):
        openvino.load(net, None)


def test_what_cannot_be_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not in float64 on cpu; leave one out"):
        eovseg.load("xs", backend="openvino", dtype="float64")
    with pytest.raises(ConfigError, match="choose one of torch, openvino, compile"):
        eovseg.load("xs", backend="abacus")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has no multi-scale decoder"):
        openvino.load(network(scales="multi"), None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"pip install openvino\.$"):
        openvino.load(network(), None)


@pytest.mark.slow
def test_xs_gives_the_same_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))
    photo, words = asset_path("photos/bear.jpg"), "bear; grass: stuff; tree: stuff"
    one = eovseg.load("xs", device="cpu")(photo, words)
    other = eovseg.load("xs", backend="openvino")(photo, words)
    assert [s.label for s in one.segments] == [s.label for s in other.segments]
    assert (one.segment_map != other.segment_map).mean() < 1e-3
    assert np.allclose([s.score for s in one.segments], [s.score for s in other.segments], atol=1e-3)
