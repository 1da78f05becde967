"""Vocabulary-Aware Selection (paper Eq. 3 and 4, Alg. 1): a pixel counts as much as some word claims it.

Per head, A = softmax over words of <E, G> / sqrt(D / heads) with E from the image and G from the words; the weight
of a pixel is scale * max over words of A + offset and multiplies all channels of F_agg.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

WORD_BLOCK = 64


def _absorb_block(
    embedding: Tensor, guide: Tensor, maximum: Tensor, log_total: Tensor
) -> tuple[Tensor, Tensor]:  # embedding (B, H, d, P), guide (n, H, d), running values (B, H, P)
    similarity = torch.einsum("bhdp,nhd->bhnp", embedding, guide).to(maximum.dtype)
    block_maximum = similarity.amax(dim=2)
    block_total = similarity.logsumexp(dim=2)
    return torch.maximum(maximum, block_maximum), torch.logaddexp(log_total, block_total)


class VocabularyAwareSelection(nn.Module):
    """VAS with heads; H' = heads, d = embed_dim / heads, N word rows including void.

    Memory does not hold pixels x words: max softmax = exp(max - logsumexp), streamed over blocks of words.
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

    def attention_maximum(self, embedding: Tensor, text: Tensor, block: int = WORD_BLOCK) -> Tensor:
        """max over words of softmax over words: (B, D, h, w), (N, D) -> (B, heads, h, w), in (0, 1]."""
        size = embedding.shape[-2:]
        embedding, guide = self._split(embedding, text)
        wide = torch.promote_types(embedding.dtype, torch.float32)
        shape = (embedding.shape[0], self.heads, embedding.shape[-1])
        maximum = embedding.new_full(shape, -torch.inf, dtype=wide)
        log_total = maximum.clone()
        for rows in guide.split(block):
            if torch.is_grad_enabled():  # keep two values a pixel and block for the backward pass, not the block itself
                maximum, log_total = checkpoint(_absorb_block, embedding, rows, maximum, log_total, use_reentrant=False)
            else:
                maximum, log_total = _absorb_block(embedding, rows, maximum, log_total)
        return (maximum - log_total).exp().unflatten(-1, size)

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
