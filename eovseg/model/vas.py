"""Vocabulary-Aware Selection (paper Eq. 3 and 4, Alg. 1): weights each pixel by how clearly one word, or void, wins.

Per head, A = softmax over words of <E, G> / sqrt(D / heads), with E from the image and G from the words, void included.
The weight of a pixel, scale * max over words of A + offset, multiplies the head's share of the channels of F_agg.
In the paper, E is a linear projection; in the released code, and here, a depthwise-separable convolution.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VocabularyAwareSelection(nn.Module):
    """Multi-head VAS; H' = heads, d = embed_dim / heads, N word rows including void."""

    def __init__(self, channels: int, embed_dim: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.embed_depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.embed_depthwise_norm = nn.BatchNorm2d(channels)
        self.embed_pointwise = nn.Conv2d(channels, embed_dim, 1, bias=False)
        self.embed_pointwise_norm = nn.BatchNorm2d(embed_dim)
        self.guide = nn.Linear(embed_dim, embed_dim)
        self.scale = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.offset = nn.Parameter(torch.zeros(1, heads, 1, 1))

    def embed(self, features: Tensor) -> Tensor:
        """E of Eq. 3: features (B, C, h, w) -> (B, D, h, w)."""
        x = F.gelu(self.embed_depthwise_norm(self.embed_depthwise(features)))
        return F.gelu(self.embed_pointwise_norm(self.embed_pointwise(x)))

    def split_heads(self, embedding: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """E (B, D, h, w) and words (N, D) as (B, H', d, hw) and G / sqrt(d) (N, H', d)."""
        guide = self.guide(text).unflatten(-1, (self.heads, -1))  # (N, H', d)
        return embedding.flatten(2).unflatten(1, (self.heads, -1)), guide / math.sqrt(guide.shape[-1])

    def similarity(self, embedding: Tensor, text: Tensor) -> Tensor:
        """Scaled dot product <E, G> / sqrt(d) of every pixel and word: (B, D, h, w), (N, D) -> (B, H', N, hw)."""
        return torch.einsum("bhdp,nhd->bhnp", *self.split_heads(embedding, text))

    def attention_maximum(self, embedding: Tensor, text: Tensor) -> Tensor:
        """max over words of softmax over words (Eq. 3): (B, D, h, w), (N, D) -> (B, H', h, w), in (0, 1]."""
        attention = self.similarity(embedding, text).softmax(dim=2)  # A (B, H', N, hw)
        return attention.amax(dim=2).unflatten(-1, embedding.shape[-2:])

    def weights(self, attention_maximum: Tensor) -> Tensor:
        """Learned scale and offset of Alg. 1: (B, H', h, w) -> same shape."""
        return attention_maximum * self.scale + self.offset

    def select(self, features: Tensor, weights: Tensor) -> Tensor:
        """F_vs = F_agg * weights, head by head (Eq. 4): (B, C, h, w), (B, H', h, w) -> (B, C, h, w)."""
        heads = features.unflatten(1, (self.heads, -1))  # (B, H', C / H', h, w)
        return (heads * weights.unsqueeze(2)).flatten(1, 2)

    def forward(self, features: Tensor, text: Tensor) -> Tensor:
        """features (B, C, h, w) and text rows (N, D) -> F_vs (B, C, h, w)."""
        return self.select(features, self.weights(self.attention_maximum(self.embed(features), text)))
