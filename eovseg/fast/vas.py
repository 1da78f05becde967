"""VAS without storing a pixels x words array: the maximum of the softmax over words, a block of pixels at a time.

If m is the largest similarity of a pixel, the maximum of its softmax is 1 / Σ exp(s − m).
"""

from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan
from torch.autograd.function import once_differentiable

from eovseg.model.vas import VocabularyAwareSelection

WORDS_AT_ONCE = 64  # words per block of a scan, whose similarities take half the memory of XS's F_agg
LEAST = -1e30


def streamed_maximum(embedding: Tensor, guide: Tensor, block: int = 1 << 20) -> Tensor:
    """Maximum over words of the softmax over words: (H', d, P), (H', N, d) -> (H', P), float32 or wider.

    About `block` similarities are stored at once. Rows of a block are words and columns are pixels, so that reductions
    over words are sums of rows.
    """
    pixels = embedding.size(2)
    step = max(16, block // (guide.size(0) * guide.size(1)))
    found: list[Tensor] = []
    for part in range((pixels + step - 1) // step):
        similarity = torch.matmul(guide, embedding[:, :, part * step : (part + 1) * step])  # (H', N, p)
        if similarity.dtype == torch.bfloat16 or similarity.dtype == torch.float16:
            similarity = similarity.float()
        similarity = similarity.sub_(similarity.amax(1, keepdim=True)).exp_()
        found.append(similarity.sum(1).reciprocal_())
    return torch.cat(found, -1)


def block_elements(like: Tensor) -> int:
    """Number of similarities stored at once: 4 MB in float32 on a CPU; GPUs are faster with fewer, larger blocks."""
    return 1 << 20 if like.device.type == "cpu" else 1 << 26


class StreamedMaximum(torch.autograd.Function):
    """`streamed_maximum` of a batch with gradients; the backward pass recomputes the similarities of each block."""

    @staticmethod
    def forward(ctx: Any, embedding: Tensor, guide: Tensor) -> Tensor:
        """(B, H', d, P), (H', N, d) -> (B, H', P)."""
        attention = torch.stack([streamed_maximum(image, guide, block_elements(guide)) for image in embedding])
        ctx.save_for_backward(embedding, guide, attention)
        return attention

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """d max / d s = max · (1 at the winner − softmax)."""
        embedding, guide, attention = ctx.saved_tensors
        embedding_gradient = torch.empty_like(embedding)
        guide_gradient = guide.new_zeros(guide.shape, dtype=attention.dtype)
        step = max(16, block_elements(guide) // guide.shape[:2].numel())
        for image, own_embedding in enumerate(embedding):
            for start in range(0, embedding.shape[-1], step):
                block = slice(start, start + step)
                pixels = own_embedding[..., block].mT  # (H', p, d)
                maximum = attention[image, :, block, None]  # (H', p, 1)
                similarity = (pixels @ guide.mT).to(attention.dtype)  # (H', p, N)
                largest, winner = similarity.max(dim=-1, keepdim=True)
                share = similarity.sub_(largest).exp_()
                factor = gradient[image, :, block, None] * maximum
                share.mul_(-factor * maximum).scatter_add_(2, winner, factor)
                share = share.to(embedding.dtype)
                embedding_gradient[image, :, :, block] = (share @ guide).mT
                guide_gradient += share.mT @ pixels
        return embedding_gradient, guide_gradient.to(guide.dtype)


class StreamedSelection(VocabularyAwareSelection):
    """`VocabularyAwareSelection` that never stores a pixels x words array, with or without gradients."""

    def attention_maximum(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Maximum over words of the softmax over words: (B, D, h, w), (N, D) -> (B, H', h, w), in (0, 1]."""
        pixels, guide = self.split_heads(embedding, text)
        guide = guide.to(pixels.dtype).transpose(0, 1)  # (H', N, d)
        if torch.is_grad_enabled() and (pixels.requires_grad or guide.requires_grad):
            attention: Tensor = StreamedMaximum.apply(pixels, guide)
        else:
            attention = torch.stack([streamed_maximum(image, guide, block_elements(guide)) for image in pixels])
        return attention.unflatten(-1, embedding.shape[-2:])

    def select(self, features: Tensor, weights: Tensor) -> Tensor:
        """Like the plain version; under autocast, F_vs keeps the dtype of F_agg."""
        return super().select(features, weights.to(features.dtype))


class ScannedSelection(StreamedSelection):
    """For `torch.export`, one photo at a time: a scan over blocks of words, which becomes a loop in an ONNX file.

    The largest similarity m so far and the sum of exp(s - m) are carried from block to block. In onnxruntime, such a
    loop needs little memory, whereas one that collects parts of a map keeps the allocations of every iteration.
    """

    def attention_maximum(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Like the base class, for one photo."""
        pixels, guide = self.split_heads(embedding, text)
        return scanned_maximum(pixels[0], guide)[None].unflatten(-1, embedding.shape[-2:])


def scanned_maximum(pixels: Tensor, guide: Tensor) -> Tensor:
    """`streamed_maximum` over blocks of `WORDS_AT_ONCE` words: (H', d, P), (N, H', d) -> (H', P)."""
    words = guide.shape[0]
    blocks = (words + WORDS_AT_ONCE - 1) // WORDS_AT_ONCE
    spare = guide.new_zeros(WORDS_AT_ONCE - 1, *guide.shape[1:])  # padding for the last block
    rows = torch.cat([guide, spare])[: blocks * WORDS_AT_ONCE].unflatten(0, (blocks, WORDS_AT_ONCE))
    hidden = torch.cat([guide.new_zeros(words), guide.new_full((len(spare),), LEAST)])[: blocks * WORDS_AT_ONCE]

    def step(carried: tuple[Tensor, Tensor], block: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        largest, total = carried
        similarity = block[0] @ pixels + block[1]  # (H', n, P)
        larger = torch.maximum(largest, similarity.amax(1))
        total = total * (largest - larger).exp() + (similarity - larger.unsqueeze(1)).exp().sum(1)
        return (larger, total), total.new_zeros(())  # a scan must have an output per step

    largest = torch.full_like(pixels[:, 0], LEAST)
    blocks_of_words = rows.transpose(1, 2), hidden.unflatten(0, (blocks, WORDS_AT_ONCE, 1))
    (_, total), _ = scan(step, (largest, torch.zeros_like(largest)), blocks_of_words)
    return total.reciprocal()


def word_rows(vas: VocabularyAwareSelection, text: Tensor) -> Tensor:
    """Rows (N, D) whose dot product with E is VAS's similarity, mean over heads; `text` is (N, D)."""
    guide = vas.guide(text)
    return guide / ((guide.shape[1] // vas.heads) ** 0.5 * vas.heads)
