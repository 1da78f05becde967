"""The network's two halves as modules of tensors alone, with operations that every ONNX runtime has.

Deformable convolutions become `grid_sample`, VAS's streamed maximum a loop over blocks of words; every word is a class
of its own, so that synonyms are the caller's maximum over columns. The numbers are the network's.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import ConfigError
from eovseg.model.aggregator import DeformableUpsample, deform_by_sampling
from eovseg.model.network import EOVSeg, ImageFeatures
from eovseg.model.vas import VocabularyAwareSelection

STRIDE = 32


class ImageHalf(nn.Module):
    """pixels (1, 3, H, W), RGB 0..255, H and W multiples of 32 -> F_agg, the dense map, and S where there is one."""

    def __init__(self, network: EOVSeg) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        # Without `normalise`'s padding: the sides are multiples of 32 already, and a graph without it is simpler.
        features = network.encode_normalised((pixels - network.pixel_mean) / network.pixel_std, (0, 0))
        outputs = (features.aggregated, features.dense)
        return outputs if features.spatial is None else (*outputs, features.spatial)


class WordHalf(nn.Module):
    """The image half's outputs and word rows (N, D) -> masks (1, Q, h, w), in- and out-of-vocabulary logits
    (1, Q, N + 1), void last, and the initial masks."""

    def __init__(self, network: EOVSeg) -> None:
        super().__init__()
        self.network = network

    def forward(self, aggregated: Tensor, dense: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """`rest`: S where the network has a spatial extractor, then the word rows."""
        network = self.network
        size = (aggregated.shape[-2] * 4, aggregated.shape[-1] * 4)
        spatial = rest[0] if len(rest) == 2 else None
        features = ImageFeatures(aggregated, (), spatial, dense, size, size)
        text = torch.cat([rest[-1], F.normalize(network.void_embedding.weight, dim=-1)])
        classes = text.shape[0]
        rows = torch.arange(classes)
        selected = network.select(aggregated, text)[0]
        # The exporter takes the sizes behind a scripted loop for fixed; these are open.
        selected = selected.reshape(*(aggregated.shape[axis] for axis in range(4)))
        if network.early_fusion is not None and spatial is not None:
            selected, spatial = network.early_fusion(selected, spatial), None
        initial, layers = network.decoder(selected, (), spatial, text, rows, classes, final_only=True)
        masks, last = layers[-1].mask_logits, layers[-1].classes
        assert last is not None
        outside, _ = network.out_of_vocabulary_logits(features, masks, text, rows, classes)
        return masks, last.logits, outside, initial


@contextmanager
def exportable(network: EOVSeg) -> Iterator[None]:
    """Within it the network computes the same numbers through operations that can be exported.

    Raises `ConfigError` for models that read several levels, which no published variant does.
    """
    if network.config.scales == "multi":
        raise ConfigError("A model with scales='multi' cannot be written as ONNX; single-scale models can.")
    changed: list[nn.Module] = []
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operation that ONNX lacks
    try:
        for module in network.modules():
            if isinstance(module, DeformableUpsample):
                module.deform = _deform.__get__(module)  # type: ignore[method-assign]
            elif isinstance(module, VocabularyAwareSelection):
                module.attention_maximum = _attention_maximum.__get__(module)  # type: ignore[method-assign]
            else:
                continue
            changed.append(module)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module in changed:
            for name in ("deform", "attention_maximum"):
                module.__dict__.pop(name, None)


def _deform(self: DeformableUpsample, x: Tensor) -> Tensor:
    offset_and_mask = self.offset(x)
    return deform_by_sampling(x, offset_and_mask[:, :18], offset_and_mask[:, 18:].sigmoid(), self.deform_weight)


def _attention_maximum(self: VocabularyAwareSelection, embedding: Tensor, text: Tensor) -> Tensor:
    embedded, guide = self._split(embedding, text)
    guide = guide.permute(1, 2, 0)  # (H', d, N)
    # Of traced code a loop leaves as many copies as it ran; only scripted code becomes ONNX's Loop.
    streamed = torch.jit.script(streamed_maximum) if torch.jit.is_tracing() else streamed_maximum  # type: ignore[attr-defined, no-untyped-call]
    return streamed(embedded[0].transpose(1, 2), guide)[None].unflatten(-1, embedding.shape[-2:])


def streamed_maximum(pixels: Tensor, guide: Tensor) -> Tensor:
    """max over words of the softmax over words, a block of words at a time: (H', P, d), (H', d, N) -> (H', P).

    With m the largest similarity so far, the sum of exp(s - m) is carried from block to block; its reciprocal is the
    maximum. Memory holds a block of similarities, whatever N is.
    """
    words = guide.size(2)
    step = max(1, 4194304 // (pixels.size(0) * pixels.size(1)))  # 16 MB of float32
    largest = torch.full_like(pixels[:, :, 0], -1e30)
    total = torch.zeros_like(largest)
    for block in range((words + step - 1) // step):
        similarity = torch.matmul(pixels, guide[:, :, block * step : (block + 1) * step])  # (H', P, n)
        larger = torch.maximum(largest, similarity.amax(2))
        total = total * (largest - larger).exp() + (similarity - larger.unsqueeze(2)).exp().sum(2)
        largest = larger
    return total.reciprocal()
