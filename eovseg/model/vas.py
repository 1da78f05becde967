"""Vocabulary-Aware Selection (paper Eq. 3 and 4, Alg. 1): a pixel counts as much as some word claims it.

Per head, A = softmax over words of <E, G> / sqrt(D / heads) with E from the image and G from the words; the weight
of a pixel is scale * max over words of A + offset and multiplies all channels of F_agg.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Similarities held at once: 4 MB on a CPU; a GPU wants fewer, larger blocks.
_BLOCK_ELEMENTS = {"cpu": 2**20, "other": 2**26}


class _AttentionMaximum(torch.autograd.Function):
    """max over words of the softmax over words, a block of pixels at a time, forward and backward.

    embedding (B, H', d, P) and guide (N, H', d) -> (B, H', P) in float32 or wider. With m the largest similarity of a
    pixel, the maximum of its softmax is 1 / Σ exp(s − m); only that and the winning word are kept for backward.
    """

    @staticmethod
    def forward(ctx: Any, embedding: Tensor, guide: Tensor) -> Tensor:
        batch, heads, _, pixels = embedding.shape
        wide = torch.promote_types(embedding.dtype, torch.float32)
        attention = embedding.new_empty((batch, heads, pixels), dtype=wide)
        winner = torch.empty((batch, heads, pixels), dtype=torch.long, device=embedding.device)
        for image, head, block in _blocks(embedding, guide):
            similarity = (embedding[image, head, :, block].T @ guide[:, head].T).to(wide)  # (p, N)
            maximum, winner[image, head, block] = similarity.max(dim=-1)
            attention[image, head, block] = (similarity - maximum[:, None]).exp_().sum(dim=-1).reciprocal_()
        ctx.save_for_backward(embedding, guide, attention, winner)
        return attention

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        embedding, guide, attention, winner = ctx.saved_tensors
        embedding_gradient = torch.empty_like(embedding)
        guide_gradient = guide.new_zeros(guide.shape, dtype=attention.dtype)
        scaled = gradient * attention
        for image, head, block in _blocks(embedding, guide):
            pixels, words = embedding[image, head, :, block].T, guide[:, head]  # (p, d), (N, d)
            similarity = (pixels @ words.T).to(attention.dtype)  # (p, N)
            best = winner[image, head, block, None]
            share = similarity.sub_(similarity.gather(1, best)).exp_()
            factor = scaled[image, head, block, None]
            share.mul_(-factor * attention[image, head, block, None])  # d max / d s = max · (1 at the winner − softmax)
            share.scatter_add_(1, best, factor)
            share = share.to(embedding.dtype)
            embedding_gradient[image, head, :, block] = (share @ words).T
            guide_gradient[:, head] += share.T @ pixels
        return embedding_gradient, guide_gradient.to(guide.dtype)


def _streamed_maximum(embedding: Tensor, guide: Tensor) -> Tensor:
    """The forward pass of `_AttentionMaximum` without what only its backward needs.

    Words run down and pixels along a block, so that the reductions over words are sums of rows.
    """
    batch, heads, _, pixels = embedding.shape
    wide = torch.promote_types(embedding.dtype, torch.float32)
    attention = embedding.new_empty((batch, heads, pixels), dtype=wide)
    for image, head, block in _blocks(embedding, guide):
        similarity = (guide[:, head] @ embedding[image, head, :, block]).to(wide)  # (N, p)
        similarity.sub_(similarity.amax(dim=0)).exp_()
        attention[image, head, block] = similarity.sum(dim=0).reciprocal_()
    return attention


def _blocks(embedding: Tensor, guide: Tensor) -> Iterator[tuple[int, int, slice]]:
    """Photo, head and pixel range of every block."""
    batch, heads, _, pixels = embedding.shape
    budget = _BLOCK_ELEMENTS.get(embedding.device.type, _BLOCK_ELEMENTS["other"])
    step = max(16, budget // len(guide))
    for image, head, start in product(range(batch), range(heads), range(0, pixels, step)):
        yield image, head, slice(start, start + step)


class VocabularyAwareSelection(nn.Module):
    """VAS with heads; H' = heads, d = embed_dim / heads, N word rows including void.

    Memory does not hold pixels x words: the maximum of the softmax is taken block by block (`_AttentionMaximum`).
    """

    def __init__(self, channels: int, guide_dim: int, embed_dim: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.embed_depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.embed_depthwise_norm = nn.BatchNorm2d(channels)
        self.embed_pointwise = nn.Conv2d(channels, embed_dim, 1, bias=False)
        self.embed_pointwise_norm = nn.BatchNorm2d(embed_dim)
        self.guide = nn.Linear(guide_dim, embed_dim)
        self.scale = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.offset = nn.Parameter(torch.zeros(1, heads, 1, 1))

    def embed(self, features: Tensor) -> Tensor:
        """E of Eq. 3: features (B, C, h, w) -> (B, D, h, w)."""
        x = F.gelu(self.embed_depthwise_norm(self.embed_depthwise(features)))
        return F.gelu(self.embed_pointwise_norm(self.embed_pointwise(x)))

    def similarity(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Scaled dot product of every pixel and word: (B, D, h, w), (N, D) -> (B, heads, N, h, w), float32 or wider."""
        embedding, guide = self._split(embedding, text)
        similarity = torch.einsum("bhdp,nhd->bhnp", embedding, guide)
        return similarity.to(torch.promote_types(similarity.dtype, torch.float32))

    def _split(self, embedding: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        batch, width = embedding.shape[:2]
        head_dim = width // self.heads
        guide = self.guide(text).view(-1, self.heads, head_dim) / math.sqrt(head_dim)  # (N, H', d)
        return embedding.reshape(batch, self.heads, head_dim, -1), guide.to(embedding.dtype)  # (B, H', d, hw)

    def word_rows(self, text: Tensor) -> Tensor:
        """Rows (N, D) whose dot product with E is the similarity, mean over heads: text (N, D)."""
        guide = self.guide(text)
        return guide / (math.sqrt(guide.shape[1] // self.heads) * self.heads)

    def attention_maximum(self, embedding: Tensor, text: Tensor) -> Tensor:
        """max over words of softmax over words: (B, D, h, w), (N, D) -> (B, heads, h, w), in (0, 1]."""
        size = embedding.shape[-2:]
        embedding, guide = self._split(embedding, text)
        if not (torch.is_grad_enabled() and (embedding.requires_grad or guide.requires_grad)):
            return _streamed_maximum(embedding, guide).unflatten(-1, size)
        attention: Tensor = _AttentionMaximum.apply(embedding, guide)
        return attention.unflatten(-1, size)

    def weights(self, attention_maximum: Tensor) -> Tensor:
        """Learned scale and offset of Alg. 1: (B, heads, h, w) -> same shape."""
        return attention_maximum * self.scale + self.offset

    def select(self, features: Tensor, weights: Tensor) -> Tensor:
        """F_vs = F_agg * weights, head by head: (B, C, h, w), (B, heads, h, w) -> (B, C, h, w)."""
        split = features.unflatten(1, (self.heads, -1)) * weights.unsqueeze(2).to(features.dtype)
        return split.flatten(1, 2)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """features (B, C, h, w) and text rows (N, D) -> F_vs (B, C, h, w)."""
        return self.select(features, self.weights(self.attention_maximum(self.embed(features), text)))
