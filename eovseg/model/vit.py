"""XS's spatial extractor: the first blocks of a ViT (Dosovitskiy et al. 2021), implemented in plain torch.

Names of modules and tensors, initialisation and outputs equal those of timm's `VisionTransformer`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 16  # pixels
GRID = 16  # side of the grid of learned positions, in patches
_EPSILON = 1e-6


class ViT(nn.Module):
    """Patches of 16 pixels, a 16 x 16 grid of positions and `depth` blocks of width `dim`; no class token, no head."""

    num_prefix_tokens = 0

    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.embed_dim = dim
        self.patch_embed = _PatchEmbedding(dim)
        self.pos_embed = nn.Parameter(torch.empty(1, GRID * GRID, dim))
        self.norm_pre = nn.Identity()
        self.blocks = nn.Sequential(*(_Block(dim, max(1, dim // 64)) for _ in range(depth)))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)


class _PatchEmbedding(nn.Module):
    grid_size = (GRID, GRID)

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)


class _Block(nn.Module):
    """Self-attention and a feed-forward network, each with pre-normalisation and residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, _EPSILON)
        self.attn = _Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, _EPSILON)
        self.mlp = _FeedForward(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, n, d) each
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))
