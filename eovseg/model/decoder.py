"""The decoder: object kernels become masks and class embeddings in three layers (paper Eq. 2, Tables 4 and 5)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.classifier import (
    classification_logits,
    hard_masks,
    mean_inside,
    resize_masks,
    sum_inside,
    uses_float16,
)
from eovseg.model.config import ModelConfig
from eovseg.model.fusion import SemanticDrivenInteraction, correlate_channels
from eovseg.model.tdee import TDEE, RouterWeights


def position_terms(like: Tensor) -> Tensor:
    """1, x, y, x², y² and xy at each cell of a map `like` (…, h, w), x and y from -1 to 1 across it: (6, h, w)."""
    x, y = _coordinates(like)
    return torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y]).to(like.dtype)


def position_waves(like: Tensor) -> Tensor:
    """Sine and cosine of x and y at each cell of a map `like` (…, h, w), 1 to 16 periods across it: (20, h, w)."""
    periods = math.pi * 2 ** torch.arange(5, device=like.device)[:, None, None]
    waves = [wave(axis * periods) for axis in _coordinates(like) for wave in (torch.sin, torch.cos)]
    return torch.cat(waves).to(like.dtype)


def _coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    height, width = like.shape[-2], like.shape[-1]  # the tracer of ONNX loses the sizes of a slice
    wide = torch.promote_types(like.dtype, torch.float32)
    x = torch.linspace(-1, 1, width, device=like.device, dtype=wide).expand(height, width)
    y = torch.linspace(-1, 1, height, device=like.device, dtype=wide)[:, None].expand(height, width)
    return x, y


class DynamicDepthwiseAttention(nn.Module):
    """DDA (Eq. 2): each query makes a 3-tap kernel that runs along the channels of its own value, then LayerNorm."""

    def __init__(self, channels: int, taps: int = 3) -> None:
        super().__init__()
        self.kernel = nn.Linear(channels, taps)
        self.norm = nn.LayerNorm(channels)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """query and value (B, Q, C) -> (B, Q, C)."""
        return self.norm(correlate_channels(value, self.kernel(query)))


class DDAInteraction(nn.Module):
    """Initial attention (sum of the features inside the hard mask), then DDA twice.

    Multi-scale reads one of the aggregator's levels p5, p4, p3 a layer (1x1 to C), the masks resized to it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.feature_attention = DynamicDepthwiseAttention(channels)
        self.feature_norm = nn.LayerNorm(channels)
        self.kernel_attention = DynamicDepthwiseAttention(channels)
        self.kernel_norm = nn.LayerNorm(channels)

    def forward(self, kernels: Tensor, features: Tensor, mask_logits: Tensor, inside: Tensor | None = None) -> Tensor:
        """kernels (B, Q, C), features (B, C, h, w), previous mask logits (B, Q, h', w') -> kernels (B, Q, C).

        `inside` (B, Q, C): the features' sum inside those masks, where the layer before has taken it already.
        """
        if uses_float16(features):
            with torch.autocast(features.device.type, enabled=False):
                known = None if inside is None else inside.float()
                return self.forward(kernels.float(), features.float(), mask_logits.float(), known)
        if inside is None:
            inside = sum_inside(features, hard_masks(mask_logits, features))  # sigmoid > 0.5; a sum, not a mean
        inside = self.feature_norm(inside + self.feature_attention(kernels, inside))
        # The incoming kernel only generates the taps: the residual is on the masked features, as released.
        return self.kernel_norm(inside + self.kernel_attention(kernels, inside))


class CrossAttentionInteraction(nn.Module):
    """CA (Table 5): masked cross-attention of the object kernels over the pixels, residual and LayerNorm.

    The paper gives no details; ours follows Mask2Former: pixels outside the previous mask are not attended to, and a
    kernel whose mask is empty attends to all pixels.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm = nn.LayerNorm(channels)

    def forward(self, kernels: Tensor, features: Tensor, mask_logits: Tensor, inside: Tensor | None = None) -> Tensor:
        """kernels (B, Q, C), features (B, C, h, w), previous mask logits (B, Q, h', w') -> kernels (B, Q, C)."""
        outside = (resize_masks(mask_logits, features.shape[-2:]) <= 0).flatten(2)  # (B, Q, hw)
        outside = outside & ~outside.all(dim=-1, keepdim=True)
        pixels = features.flatten(2).transpose(1, 2)  # (B, hw, C)
        attended = _masked_attention(self.attention, kernels, pixels, outside)
        return self.norm(kernels + attended)


def _masked_attention(attention: nn.MultiheadAttention, query: Tensor, pixels: Tensor, outside: Tensor) -> Tensor:
    """`attention(query, pixels, pixels)` without the pixels that are `outside`: (B, Q, C), (B, hw, C), (B, Q, hw) bool.

    Written out, because the backward pass of torch's fused attention is slow on a CPU where there is a mask.
    """
    channels, heads = query.shape[-1], attention.num_heads
    to_query, to_pixels = attention.in_proj_weight.split([channels, 2 * channels])
    query_bias, pixel_bias = attention.in_proj_bias.split([channels, 2 * channels])
    q = F.linear(query, to_query, query_bias).unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, Q, d)
    k, v = F.linear(pixels, to_pixels, pixel_bias).unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (B, heads, Q, hw)
    weights = scores.masked_fill(outside[:, None], -torch.inf).softmax(-1).to(v.dtype)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2))


@dataclass
class LayerOutput:
    """What one decoder layer leaves: shapes as in `Logits`; `attention` (B, Q, Q) only on request."""

    kernels: Tensor
    mask_logits: Tensor
    classes: "LayerClasses | None"  # None where only the last layer's were asked for
    attention: Tensor | None

    @property
    def class_logits(self) -> Tensor:
        """(B, Q, K+1)."""
        assert self.classes is not None
        return self.classes.logits


@dataclass
class LayerClasses:
    """A layer's class head; `inside` (B, Q, C), the sum of F_vs inside its masks, is where the next layer begins."""

    logits: Tensor
    embeddings: Tensor
    routers: RouterWeights | None
    inside: Tensor


class DecoderLayer(nn.Module):
    """One layer: interaction with the image, self-attention, FFN, then the mask and class heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.hidden_dim
        self.interaction: nn.Module = (
            DDAInteraction(channels)
            if config.interaction == "DDA"
            else CrossAttentionInteraction(channels, config.attention_heads)
        )
        self.self_attention = nn.MultiheadAttention(channels, config.attention_heads, batch_first=True)
        self.self_attention_norm = nn.LayerNorm(channels)
        self.ffn = nn.Sequential(nn.Linear(channels, config.ffn_dim), nn.ReLU(), nn.Linear(config.ffn_dim, channels))
        self.ffn_norm = nn.LayerNorm(channels)
        self.mask_embed = nn.Sequential(
            nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU(), nn.Linear(channels, channels)
        )
        terms = {"none": 0, "constant": 1, "quadratic": 6}[config.mask_bias]
        self.mask_bias = nn.Linear(channels, terms) if terms else None
        self.feature_projection = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels))
        self.fusion: nn.Module | None = None
        if config.fusion in ("TDEE", "SDI"):
            self.spatial_projection = nn.Sequential(
                nn.LayerNorm(config.spatial_dim), nn.Linear(config.spatial_dim, channels)
            )
            self.fusion = (
                TDEE(channels) if config.fusion == "TDEE" else SemanticDrivenInteraction(channels, config.queries)
            )
        self.class_embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, config.embed_dim),
        )
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def mask_logits(self, kernels: Tensor, features: Tensor) -> Tensor:
        """Dot product of each mask kernel with each pixel, and its bias: (B, Q, C), (B, C, h, w) -> (B, Q, h, w)."""
        logits = torch.einsum("bqc,bchw->bqhw", self.mask_embed(kernels), features)
        if self.mask_bias is None:
            return logits
        bias = self.mask_bias(kernels)  # (B, Q, 1 or 6)
        return logits + torch.einsum("bqp,phw->bqhw", bias, position_terms(features)[: bias.shape[-1]])

    def instance_embedding(
        self, features: Tensor, spatial: Tensor | None, mask_logits: Tensor
    ) -> tuple[Tensor, RouterWeights | None]:
        """E_I (B, Q, C): the features inside the new masks, fused with the spatial features there."""
        pooled, _, from_spatial = self._pool(features, spatial, mask_logits)
        return self._fuse(pooled, from_spatial)

    def _fuse(self, pooled: Tensor, from_spatial: Tensor | None) -> tuple[Tensor, RouterWeights | None]:
        mask_embedding = self.feature_projection(pooled)  # E_m
        if self.fusion is None or from_spatial is None:
            return mask_embedding, None
        spatial_embedding = self.spatial_projection(from_spatial)  # E_s
        if isinstance(self.fusion, TDEE):
            return self.fusion.route(mask_embedding, spatial_embedding)
        return self.fusion(mask_embedding, spatial_embedding), None

    def _pool(
        self, features: Tensor, spatial: Tensor | None, mask_logits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean and sum of F_vs and mean of S inside the masks; both maps share one hard mask."""
        if uses_float16(features):
            with torch.autocast(features.device.type, enabled=False):
                wide = None if spatial is None else spatial.float()
                return self._pool(features.float(), wide, mask_logits.float())
        masks = hard_masks(mask_logits, features)
        inside = sum_inside(features, masks)
        from_spatial = None
        if self.fusion is not None and spatial is not None:
            there = masks if spatial.shape[-2:] == features.shape[-2:] else hard_masks(mask_logits, spatial)
            from_spatial = mean_inside(sum_inside(spatial, there.to(spatial.dtype)), there)
        return mean_inside(inside, masks), inside, from_spatial

    def forward(
        self,
        features: Tensor,  # F_vs (B, C, h, w)
        interacting: Tensor,  # what the interaction reads: F_vs, or an aggregator level
        spatial: Tensor | None,  # S (B, C_s, h, w)
        kernels: Tensor,  # (B, Q, C)
        mask_logits: Tensor,  # (B, Q, h, w)
        text: Tensor,  # (N, D), void row last
        class_index: Tensor,  # (N,)
        classes: int,
        attention_mask: Tensor | None = None,  # (Q, Q), True = may not look
        return_attention: bool = False,
        inside: Tensor | None = None,  # (B, Q, C), see DDAInteraction
        classify: bool = True,
    ) -> LayerOutput:
        kernels = self.interaction(kernels, interacting, mask_logits, inside)
        attended, attention = self.self_attention(
            kernels, kernels, kernels, attn_mask=attention_mask, need_weights=return_attention
        )
        kernels = self.self_attention_norm(kernels + attended)
        kernels = self.ffn_norm(kernels + self.ffn(kernels))
        mask_logits = self.mask_logits(kernels, features)
        if not classify:
            return LayerOutput(kernels, mask_logits, None, attention)
        pooled, inside, from_spatial = self._pool(features, spatial, mask_logits)
        fused, routers = self._fuse(pooled, from_spatial)
        embeddings = self.class_embed(fused + kernels)
        class_logits = classification_logits(embeddings, text, class_index, self.logit_scale, classes)
        return LayerOutput(kernels, mask_logits, LayerClasses(class_logits, embeddings, routers, inside), attention)


class Decoder(nn.Module):
    """Learned object kernels and the layers that refine them."""

    def __init__(self, config: ModelConfig, level_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.object_kernels = nn.Embedding(config.queries, config.hidden_dim)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.attention_stride = config.attention_stride if config.interaction == "CA" else 1
        self.position: nn.Conv2d | None = None
        if config.interaction == "CA" and config.attention_positions:
            self.position = nn.Conv2d(20, config.hidden_dim, 1)
        self.level_inputs: nn.ModuleList | None = None
        if config.scales == "multi":
            self.level_inputs = nn.ModuleList(nn.Conv2d(c, config.hidden_dim, 1) for c in level_channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        features: Tensor,
        levels: tuple[Tensor, ...],
        spatial: Tensor | None,
        text: Tensor,
        class_index: Tensor,
        classes: int,
        extra_masks: Tensor | None = None,
        return_attention: bool = False,
        final_only: bool = False,
    ) -> tuple[Tensor, list[LayerOutput]]:
        """Initial mask logits and the output of every layer.

        With `final_only` the layers before the last give masks but no classes, which no later layer reads.

        `extra_masks` (B, P, h, w), P <= Q: initial mask logits of P further queries (mask-piloted training); they
        start from the first P object kernels and share no self-attention with the model's own queries.
        """
        batch = features.shape[0]
        kernels = self.object_kernels.weight.to(features.dtype).expand(batch, -1, -1)
        mask_logits = torch.einsum("bqc,bchw->bqhw", kernels, features)
        attention_mask = None
        if extra_masks is not None and extra_masks.shape[1]:
            queries, extra = kernels.shape[1], extra_masks.shape[1]
            kernels = torch.cat([kernels, kernels[:, :extra]], dim=1)
            mask_logits = torch.cat([mask_logits, extra_masks.to(mask_logits.dtype)], dim=1)
            group = torch.arange(queries + extra, device=features.device) >= queries
            attention_mask = group[:, None] != group[None, :]
        outputs: list[LayerOutput] = []
        previous = mask_logits
        inside: Tensor | None = None
        seen = self.read(features)
        for index, layer in enumerate(self.layers):
            interacting = seen
            if self.level_inputs is not None:
                level = index % len(self.level_inputs)
                interacting = self.placed(self.level_inputs[level](levels[level]))
            output = layer(
                features,
                interacting,
                spatial,
                kernels,
                previous,
                text,
                class_index,
                classes,
                attention_mask,
                return_attention,
                inside,
                classify=not final_only or index == len(self.layers) - 1,
            )
            outputs.append(output)
            kernels, previous = output.kernels, output.mask_logits
            if self.level_inputs is None and output.classes is not None:
                inside = output.classes.inside
        return mask_logits, outputs

    def read(self, features: Tensor) -> Tensor:
        """What the interactions of a single scale read: F_vs, for CA its mean over squares of cells, with positions."""
        if self.attention_stride > 1:
            features = F.avg_pool2d(features, self.attention_stride)
        return self.placed(features)

    def placed(self, features: Tensor) -> Tensor:
        """`features` (B, C, h, w) with their positions, where the network has them."""
        return features if self.position is None else features + self.position(position_waves(features)[None])
