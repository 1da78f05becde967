"""Batch normalisation over two processes against torch's on all photos at once."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from eovseg import distributed
from eovseg.training.batch_norm import SharedBatchNorm, share_batch_norms
from tests.distributed_group import in_two_processes

CHANNELS = 5


def network(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(3)
    frozen = nn.BatchNorm2d(CHANNELS).requires_grad_(False).eval()
    layers = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, bias=False), nn.BatchNorm2d(CHANNELS), nn.GELU(), frozen)
    for parameter in layers[1].parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return layers.to(dtype)


def photos(dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return (torch.randn(5, 3, 7, 6, generator=generator) * 3 + 10).to(dtype)


def step(layers: nn.Sequential, pixels: Tensor) -> dict[str, Tensor]:
    """All outputs of two forward passes, which update running statistics, and one backward pass."""
    pixels = pixels.clone().requires_grad_()
    layers(pixels.detach() / 2)
    output = layers(pixels)
    (output.square() * torch.linspace(0, 1, 4)).sum().backward()
    assert pixels.grad is not None
    gradients = {f"gradient of {name}": p.grad for name, p in layers.named_parameters() if p.grad is not None}
    return {"output": output.detach(), "pixels": pixels.grad, **gradients, **layers.state_dict()}


def share_of_step(dtype: torch.dtype) -> dict[str, Any]:
    layers = network(dtype)
    before = list(layers.parameters())
    share_batch_norms(layers)
    assert [type(layer) for layer in layers[1::2]] == [SharedBatchNorm, nn.BatchNorm2d]
    assert all(a is b for a, b in zip(before, layers.parameters(), strict=True))
    own = slice(0, 2) if distributed.is_main() else slice(2, 5)  # different sizes
    result = step(layers, photos(dtype)[own])
    layers.eval()
    return result | {"evaluation": layers(photos(dtype)).detach()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-4)])
def test_two_processes_normalise_as_one(dtype: torch.dtype, tolerance: float) -> None:
    layers = network(dtype)
    whole = step(layers, photos(dtype))
    whole["evaluation"] = layers.eval()(photos(dtype)).detach()
    first, second = in_two_processes(share_of_step, dtype)
    assert first.keys() == whole.keys()
    for name, expected in whole.items():
        if name in ("output", "pixels"):
            found = torch.cat([first[name], second[name]])
        elif name.startswith("gradient"):
            found = first[name] + second[name]
        else:
            assert torch.equal(first[name], second[name]), name
            found = first[name]
        assert (found - expected).abs().max() <= tolerance * expected.abs().max(), name


def test_a_single_process_uses_torchs_batch_norm() -> None:
    ours, theirs = network(torch.float64), network(torch.float64)
    share_batch_norms(ours)
    found, expected = step(ours, photos(torch.float64)), step(theirs, photos(torch.float64))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10, msg=name)
    half = photos(torch.bfloat16)
    assert SharedBatchNorm(3)(half).dtype == torch.bfloat16
