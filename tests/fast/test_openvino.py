"""OpenVINO's image half compared with torch's, its cache on disk, and error messages."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eovseg
from eovseg.assets import asset_path
from eovseg.choices import Dtype
from eovseg.errors import ConfigError
from eovseg.fast import FastEOVSeg, openvino, optimise
from eovseg.fast.precision import has_bfloat16
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg

NARROW = {"hidden_dim": 32, "queries": 6, "ffn_dim": 32, "aggregator_dim": 16, "spatial_dim": 64}


def network(**changes: Any) -> FastEOVSeg:
    torch.manual_seed(0)
    return optimise(EOVSeg(variant_config("xs").with_changes(**{**NARROW, **changes})).eval())


def same(half: openvino.OpenVINOImageHalf, net: EOVSeg, height: int, width: int) -> None:
    pixels = 255 * torch.rand(1, 3, height, width)
    with torch.inference_mode():
        wanted = optimise(net).encode_image(pixels)
        found = half(net.normalise(pixels), (height, width))
    assert found.image_size == wanted.image_size and found.padded_size == wanted.padded_size
    for name in ("aggregated", "dense", "spatial", "pixel_embeddings"):
        one, other = getattr(wanted, name), getattr(found, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            assert (one - other).abs().max() <= 1e-3 * (one.max() - one.min())


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"vas": False, "fusion": "none"}, {"fusion": "EAF"}], ids=str)
def test_every_size_from_one_conversion(changes: dict[str, Any], tmp_path: Path) -> None:
    net = network(**changes)
    half = openvino.load(net, tmp_path)
    for size in ((96, 128), (70, 100), (256, 256), (33, 300)):
        same(half, net, *size)


@pytest.mark.slow
def test_torchvision_is_not_imported_while_tracing() -> None:
    """Runs in a new process, because in this one other tests may already have imported torchvision."""
    code = (
        "import sys, eovseg; assert 'torchvision' not in sys.modules;"
        "print(type(eovseg.load('xs', device='cpu', backend='openvino').network.image_half).__name__)"
    )
    environment = {**os.environ, "EOVSEG_CACHE": os.devnull}  # disables the cache, so that the network is converted
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "OpenVINOImageHalf", done.stderr[-500:]


@pytest.mark.slow
def test_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    openvino.load(net, tmp_path)
    assert len(list((tmp_path / "openvino").iterdir())) == 2  # the graph and its weights, no temporary files

    def convert(*_: Any) -> None:
        raise AssertionError("converted again")

    with monkeypatch.context() as patch:
        patch.setattr(openvino, "_convert", convert)
        same(openvino.load(net, tmp_path), net, 64, 96)
        with torch.no_grad():
            next(iter(net.aggregator.parameters())).add_(1e-3)
        with pytest.raises(AssertionError, match="converted again"):  # other weights have another file
            openvino.load(net, tmp_path)


@pytest.mark.slow
def test_results_that_differ_from_torch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    monkeypatch.setattr(openvino, "TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="On this machine, the backend 'openvino' differs from torch"):
        openvino.load(net, None)


@pytest.mark.slow
def test_bfloat16_is_compared_with_torchs_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding is accepted, but swapped norms are not."""
    net = network()
    half = openvino.load(net, tmp_path, bfloat16=True)
    images = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, found = net.encode_normalised(images, (96, 128)), half(images, (96, 128))
    if has_bfloat16(torch.device("cpu")):
        assert openvino._error(wanted.aggregated, found.aggregated) > 1e-4, "it is computed in bfloat16"
    assert openvino._error(wanted.aggregated, found.aggregated) < 0.2
    blocks = net.feature_extractor.tower.network.blocks
    one, other = blocks[5][3].bn1, blocks[5][4].bn1
    wrong = {name: other.state_dict()[name].clone() for name in one.state_dict()}

    def convert(package: Any, whole: torch.nn.Module, made: Any = openvino._convert) -> Any:
        right = {name: tensor.clone() for name, tensor in one.state_dict().items()}
        one.load_state_dict(wrong)
        try:
            return made(package, whole)
        finally:
            one.load_state_dict(right)

    monkeypatch.setattr(openvino, "_convert", convert)
    with pytest.raises(ConfigError, match=r"by [\d.]+% of the outputs' standard deviation \([\d.]+% is allowed\); use"):
        openvino.load(net, None, bfloat16=True)


def test_unsupported_cases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not float64 on cpu"):
        eovseg.load("xs", backend="openvino", dtype="float64")
    with pytest.raises(ConfigError, match="choose one of torch, openvino, compile"):
        eovseg.load("xs", backend="abacus")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="does not support multi-scale networks"):
        openvino.load(network(scales="multi"), None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"pip install openvino\.$"):
        openvino.load(network(), None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:dtype='bfloat16' is slower")
@pytest.mark.parametrize(("dtype", "pixels", "scores"), [("float32", 1e-3, 1e-3), ("bfloat16", 0.03, 0.1)])
def test_xs_gives_the_same_segments(
    dtype: Dtype, pixels: float, scores: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xs: eovseg.Predictor
) -> None:
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))
    photo, words = asset_path("photos/bear.jpg"), "bear; grass: stuff; tree: stuff"
    one = xs(photo, words)
    other = eovseg.load("xs", backend="openvino", dtype=dtype)(photo, words)
    assert [s.label for s in one.segments] == [s.label for s in other.segments]
    assert (one.segment_map != other.segment_map).mean() < pixels
    assert np.allclose([s.score for s in one.segments], [s.score for s in other.segments], atol=scores)
