"""The image half rounded to 8 bits: what is rounded, by how much, and that the network stays as it was."""

import torch
from torch import nn

from eovseg.fast import optimise
from eovseg.fast.halves import ImageHalf
from eovseg.fast.openvino import _error
from eovseg.fast.quantised import pictures, quantised
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from tests.fast.test_openvino import NARROW


def test_calibration_pictures_are_the_same_every_time() -> None:
    found = pictures()
    assert found.shape == (4, 3, 256, 256) and torch.equal(found, pictures())
    assert found.min() == 0 and found.max() == 255
    steps = (found[..., 1:] - found[..., :-1]).abs().mean() / found.std()
    assert steps < 0.7, "neighbours are alike, as in a photo"


def test_layers_are_rounded_and_the_network_stays() -> None:
    torch.manual_seed(0)
    network = optimise(EOVSeg(variant_config("xs").with_changes(**NARROW)).eval())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    half = quantised(network)
    rounded = [m for m in half.modules() if isinstance(m, nn.Conv2d | nn.Linear) and hasattr(m, "parametrizations")]
    assert len(rounded) > 60
    for layer in (rounded[0], rounded[-1]):
        assert max(len(channel.unique()) for channel in layer.weight.detach().flatten(1)) <= 127
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(m._forward_pre_hooks or hasattr(m, "parametrizations") for m in network.modules())
    images = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for wanted, found in zip(ImageHalf(network)(images), half(images), strict=True):
            assert 1e-4 < _error(wanted, found) < 0.6
