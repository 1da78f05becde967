"""The image half in int8, for OpenVINO: inputs and weights of convolutions and linear layers rounded to 255 values.

Done after training: an input is rounded within the range that it has on a few pictures, weights within the range of
their output channel. The rounding is written into the graph, which OpenVINO then computes with integers. The pictures
are noise with a photo's spectrum (amplitude 1 / frequency; Field 1987), so that no photo has to be at hand.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from eovseg.fast.folded import FoldedImageHalf
from eovseg.fast.halves import ImageHalf
from eovseg.fast.network import FastEOVSeg

PICTURES = 4
_SIDE = 256
# With 8 bits, processors without VNNI add two products in 16 bits, which overflow; with 7 they do not.
_LARGEST_WEIGHT = 63


@torch.no_grad()
def quantised(network: FastEOVSeg) -> ImageHalf:
    """The image half of `network`, arranged for inference, with its layers rounded; `network` stays as it was."""
    half = FoldedImageHalf(network).half
    ranges: dict[nn.Module, tuple[float, float]] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        low, high = ranges.get(layer, (0.0, 0.0))
        ranges[layer] = min(low, float(given[0].min())), max(high, float(given[0].max()))

    layers = [layer for layer in half.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        for picture in pictures():
            half(network.normalise(picture[None]))
    finally:
        for handle in handles:
            handle.remove()
    for layer, (low, high) in ranges.items():
        layer.register_forward_pre_hook(_rounding(low, high))
        parametrize.register_parametrization(layer, "weight", _RoundedWeight(layer.weight))
    return half


def pictures() -> Tensor:
    """Calibration pictures (4, 3, 256, 256), RGB 0..255, the same ones every time."""
    generator = torch.Generator().manual_seed(0)
    frequency = torch.fft.fftfreq(_SIDE)[:, None].square() + torch.fft.rfftfreq(_SIDE).square()
    spectrum = torch.fft.rfft2(torch.randn(PICTURES, 3, _SIDE, _SIDE, generator=generator))
    noise = torch.fft.irfft2(spectrum / frequency.sqrt().clamp(min=1 / _SIDE))
    grey = noise.mean(dim=1, keepdim=True)  # a photo's colours go together
    noise = (noise + 2 * grey) / (noise + 2 * grey).std(dim=(1, 2, 3), keepdim=True)
    return (noise * 64 + 128).clamp(0, 255)


def _rounding(low: float, high: float) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """A hook that rounds a layer's input: to 0..255 steps where nothing is negative, else to -128..127."""
    scale, least, most = (high / 255, 0, 255) if low >= 0 else (max(-low / 128, high / 127), -128, 127)

    def round_input(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.fake_quantize_per_tensor_affine(given[0], scale or 1.0, 0, least, most), *given[1:])

    return round_input


class _RoundedWeight(nn.Module):
    """Weights rounded to whole multiples of a step of their output channel's own."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        steps = weight.flatten(1).abs().amax(1) / _LARGEST_WEIGHT
        self.register_buffer("steps", steps.clamp(min=torch.finfo(steps.dtype).tiny))
        self.register_buffer("zeros", torch.zeros(len(weight), dtype=torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        """(C_out, ...) -> the same shape."""
        return torch.fake_quantize_per_channel_affine(
            weight, self.steps, self.zeros, 0, -_LARGEST_WEIGHT, _LARGEST_WEIGHT
        )
