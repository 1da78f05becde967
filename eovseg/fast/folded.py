"""The image half in torch, rearranged for inference; the results are the network's up to rounding.

Each batch norm is folded into the convolution before it, tensors are stored channels-last, as convolutions on CPUs and
tensor cores prefer, and GELU works in place. The network itself is not changed, because training, checkpoints and
inspection use it.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from eovseg.fast.halves import ImageHalf, features_of
from eovseg.fast.network import FastEOVSeg
from eovseg.fast.values import PreparedFeatures
from eovseg.fast.vas import StreamedSelection
from eovseg.model.network import EOVSeg
from eovseg.model.spatial import LayerNorm2d

_PARTS = ("feature_extractor", "aggregator", "spatial_extractor", "spatial_upscaling", "vas")
_PROBE = 64  # side in pixels of the input used to find out which batch norm follows which convolution


class FoldedImageHalf:
    """The rearranged image half; call it with normalised pixels, padded to multiples of 32.

    It copies the weights of convolutions and shares everything else with `network`, so it must be rebuilt when weights
    change.
    """

    def __init__(self, network: FastEOVSeg) -> None:
        self.network = _copy_image_half(network)
        self.half = ImageHalf(self.network).eval()
        with torch.no_grad():
            _fold(self.network, lambda: self.half(network.pixel_mean.new_zeros(1, 3, _PROBE, _PROBE)))
            for module in [module for part in _modules_to_copy(self.network) for module in part.modules()]:
                for name, child in module.named_children():
                    if isinstance(child, LayerNorm2d):
                        module.register_module(name, _ChannelsLastNorm(child))
                    elif isinstance(child, nn.GELU) and child.approximate == "none":
                        module.register_module(name, _InPlaceGELU())
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    weight = module.weight.contiguous(memory_format=torch.channels_last)
                    module.weight = nn.Parameter(weight, requires_grad=False)
                elif isinstance(module, StreamedSelection):
                    module.__class__ = _InPlaceSelection

    def run(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tensors of `ImageHalf`."""
        found: tuple[Tensor, ...] = self.half(images.contiguous(memory_format=torch.channels_last))
        return found

    def __call__(self, images: Tensor, size: tuple[int, int]) -> PreparedFeatures:
        """Features of `images` (B, 3, H, W) whose first `size` rows and columns are the photo."""
        return features_of(self.half.names, self.run(images), size, (images.shape[-2], images.shape[-1]))


class _InPlaceSelection(StreamedSelection):
    """VAS with folded norms and in-place GELU."""

    def embed(self, features: Tensor) -> Tensor:
        """E of Eq. 3: features (B, C, h, w) -> (B, D, h, w)."""
        x = _gelu(self.embed_depthwise_norm(self.embed_depthwise(features)))
        return _gelu(self.embed_pointwise_norm(self.embed_pointwise(x)))


def _gelu(x: Tensor) -> Tensor:
    overwritten: Tensor = torch.ops.aten.gelu_(x)
    return overwritten


class _InPlaceGELU(nn.Module):
    """In-place GELU for outputs that nothing else reads, which saves allocating a large map."""

    def forward(self, x: Tensor) -> Tensor:
        return _gelu(x)


class _ChannelsLastNorm(nn.Module):
    """`LayerNorm2d` for channels-last tensors: torch's own layer norm, without a copy."""

    def __init__(self, norm: LayerNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def _copy_image_half(network: FastEOVSeg) -> FastEOVSeg:
    """A copy of the network with copied modules in its image half; their tensors are shared until replaced."""
    copied = copy.copy(network)
    copied._modules = dict(network._modules)
    for name in _PARTS:
        part = getattr(network, name)
        if part is not None:
            shared = {id(tensor): tensor for tensor in (*part.parameters(), *part.buffers())}
            copied._modules[name] = copy.deepcopy(part, shared)
    return copied


def _modules_to_copy(network: EOVSeg) -> list[nn.Module]:
    """The modules that are copied, not shared with the network."""
    return [part for name in _PARTS if (part := getattr(network, name)) is not None]


def _fold(network: EOVSeg, run: Callable[[], object]) -> None:
    """Folds every batch norm whose input is the output of a convolution; `run` performs one complete forward pass."""
    made_by: dict[int, tuple[Tensor, nn.Conv2d | nn.ConvTranspose2d]] = {}  # holds the tensors, so that ids stay unique
    pairs: list[tuple[nn.Conv2d | nn.ConvTranspose2d, nn.BatchNorm2d]] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], output: Tensor | None = None) -> None:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and output is not None:
            made_by[id(output)] = (output, module)
        elif isinstance(module, nn.BatchNorm2d) and id(given[0]) in made_by:
            pairs.append((made_by[id(given[0])][1], module))

    convolutions = (nn.Conv2d, nn.ConvTranspose2d)
    modules = [module for part in _modules_to_copy(network) for module in part.modules()]
    handles = [m.register_forward_hook(note) for m in modules if isinstance(m, convolutions)]
    handles += [m.register_forward_pre_hook(note) for m in modules if isinstance(m, nn.BatchNorm2d)]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    places = {module: (parent, name) for parent in network.modules() for name, module in parent.named_children()}
    for convolution, norm in pairs:
        folded = fuse_conv_bn_eval(convolution, norm, transpose=isinstance(convolution, nn.ConvTranspose2d))
        convolution.weight, convolution.bias = folded.weight, folded.bias
        # timm's batch norms also contain dropout and an activation.
        rest = [part for part in (norm.drop, norm.act) if isinstance(part, nn.Module)] if hasattr(norm, "act") else []
        parent, name = places[norm]
        parent.register_module(name, nn.Sequential(*rest))
