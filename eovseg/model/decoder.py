"""The decoder: turns object kernels into masks and class embeddings in three layers (paper Eq. 2, Tables 4 and 5)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.classifier import classification_logits, hard_masks, pool_by_masks, resize_masks, sum_inside
from eovseg.model.config import ModelConfig
from eovseg.model.fusion import build_fusion, correlate_channels
from eovseg.model.positions import position_terms, position_waves
from eovseg.model.tdee import TDEE
from eovseg.model.values import LayerOutput, RouterWeights, Scene


class DynamicDepthwiseAttention(nn.Module):
    """DDA (Eq. 2): each query generates a 3-tap kernel that slides along the channels of its value; then LayerNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Linear(channels, 3)
        self.norm = nn.LayerNorm(channels)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """query and value (B, Q, C) -> (B, Q, C)."""
        return self.norm(correlate_channels(value, self.kernel(query)))


class DDAInteraction(nn.Module):
    """Initial attention (sum of the features inside the hard mask), then DDA twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.feature_attention = DynamicDepthwiseAttention(channels)
        self.feature_norm = nn.LayerNorm(channels)
        self.kernel_attention = DynamicDepthwiseAttention(channels)
        self.kernel_norm = nn.LayerNorm(channels)

    def forward(self, kernels: Tensor, features: Tensor, mask_logits: Tensor) -> Tensor:
        """kernels (B, Q, C), features (B, C, h, w), previous mask logits (B, Q, h', w') -> kernels (B, Q, C)."""
        return self.refine(kernels, sum_inside(features, hard_masks(mask_logits, features)))  # a sum, not a mean

    def refine(self, kernels: Tensor, inside: Tensor) -> Tensor:
        """Kernels and the features inside their masks, each (B, Q, C) -> kernels (B, Q, C)."""
        inside = self.feature_norm(inside + self.feature_attention(kernels, inside))
        # The input kernel only generates the taps; the residual is on the masked features, as released.
        return self.kernel_norm(inside + self.kernel_attention(kernels, inside))


class CrossAttentionInteraction(nn.Module):
    """CA (Table 5): masked cross-attention of the object kernels over the pixels, residual and LayerNorm.

    The paper gives no details. This follows Mask2Former: pixels outside the previous mask are masked out, and a kernel
    with an empty mask attends to all pixels.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm = nn.LayerNorm(channels)

    def forward(self, kernels: Tensor, features: Tensor, mask_logits: Tensor) -> Tensor:
        """kernels (B, Q, C), features (B, C, h, w), previous mask logits (B, Q, h', w') -> kernels (B, Q, C)."""
        outside = (resize_masks(mask_logits, features.shape[-2:]) <= 0).flatten(2)  # (B, Q, hw)
        outside = outside & ~outside.all(dim=-1, keepdim=True)
        pixels = features.flatten(2).transpose(1, 2)  # (B, hw, C)
        return self.norm(kernels + self.attend(kernels, pixels, outside))

    def attend(self, kernels: Tensor, pixels: Tensor, outside: Tensor) -> Tensor:
        """Attention to the pixels that are not `outside`: (B, Q, C), (B, hw, C), (B, Q, hw) bool -> (B, Q, C)."""
        hidden = outside.repeat_interleave(self.attention.num_heads, dim=0)  # (B * heads, Q, hw)
        attended, _ = self.attention(kernels, pixels, pixels, attn_mask=hidden, need_weights=False)
        return attended


class DecoderLayer(nn.Module):
    """One layer: initial attention and DDA (or CA), late attention (self-attention, FFN), mask and class heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, heads = config.hidden_dim, config.attention_heads
        self.interaction: nn.Module = (
            DDAInteraction(channels) if config.interaction == "DDA" else CrossAttentionInteraction(channels, heads)
        )
        self.self_attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.self_attention_norm = nn.LayerNorm(channels)
        self.ffn = nn.Sequential(nn.Linear(channels, config.ffn_dim), nn.ReLU(), nn.Linear(config.ffn_dim, channels))
        self.ffn_norm = nn.LayerNorm(channels)
        # Mask kernels; the paper has a three-layer MLP, the released code two layers with a norm.
        self.mask_embed = nn.Sequential(
            nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU(), nn.Linear(channels, channels)
        )
        terms = {"none": 0, "constant": 1, "quadratic": 6}[config.mask_bias]
        self.mask_bias = nn.Linear(channels, terms) if terms else None
        self.feature_projection = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels))
        fusion = build_fusion(config)
        if fusion is not None:
            self.spatial_projection = nn.Sequential(
                nn.LayerNorm(config.spatial_dim), nn.Linear(config.spatial_dim, channels)
            )
        self.fusion = fusion
        self.class_embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, channels),
            nn.ReLU(),
            nn.Linear(channels, config.embed_dim),
        )
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.class_dropout = config.class_dropout

    def forward(self, scene: Scene, pixels: Tensor, kernels: Tensor, mask_logits: Tensor) -> LayerOutput:
        """Kernels (B, Q, C) and masks (B, Q, h, w) of the previous layer; `pixels` (B, C, h', w') come from `read`."""
        kernels = self.interaction(kernels, pixels, mask_logits)  # initial attention and Eq. 2, or CA
        attended, attention = self.self_attention(kernels, kernels, kernels)  # late attention, from here
        kernels = self.self_attention_norm(kernels + attended)
        kernels = self.ffn_norm(kernels + self.ffn(kernels))
        mask_logits = self.mask_logits(kernels, scene)
        pooled = pool_by_masks(scene.features, mask_logits)  # (B, Q, C)
        spatial = None if scene.spatial is None else pool_by_masks(scene.spatial, mask_logits)  # (B, Q, C_s)
        instance_embedding, routers = self.instance_embedding(pooled, spatial)  # E_I
        embeddings = self.embed_classes(instance_embedding, kernels)
        # The in-vocabulary classifier; the other one is in `EOVSeg.out_of_vocabulary_logits`.
        logits = classification_logits(embeddings, scene.text, scene.class_index, self.logit_scale, scene.classes)
        return LayerOutput(kernels, mask_logits, logits, embeddings, attention, routers)

    def mask_logits(self, kernels: Tensor, scene: Scene) -> Tensor:
        """Dot products of mask kernels and F_vs; XS adds a bias and regression: kernels (B, Q, C) -> (B, Q, h, w)."""
        logits = torch.einsum("bqc,bchw->bqhw", self.mask_embed(kernels), scene.features)
        if self.mask_bias is not None:
            bias = self.mask_bias(kernels)  # (B, Q, 1 or 6)
            logits = logits + torch.einsum("bqp,phw->bqhw", bias, position_terms(scene.features)[: bias.shape[-1]])
        return logits if scene.regression is None else scene.regression(logits)

    def embed_classes(self, instance_embedding: Tensor, kernels: Tensor) -> Tensor:
        """Class embeddings (B, Q, D) of E_I and the object kernels, both (B, Q, C)."""
        return self.class_embed(F.dropout(instance_embedding + kernels, self.class_dropout, self.training))

    def instance_embedding(self, pooled: Tensor, spatial: Tensor | None) -> tuple[Tensor, RouterWeights | None]:
        """E_I (B, Q, C) from the means of F_vs (B, Q, C) and S (B, Q, C_s) inside the masks; also TDEE's weights."""
        mask_embedding = self.feature_projection(pooled)  # E_m
        if self.fusion is None or spatial is None:
            return mask_embedding, None
        spatial_embedding = self.spatial_projection(spatial)  # E_s
        if isinstance(self.fusion, TDEE):
            return self.fusion.route(mask_embedding, spatial_embedding)
        return self.fusion(mask_embedding, spatial_embedding), None


class Decoder(nn.Module):
    """Learned object kernels and the layers that refine them."""

    def __init__(self, config: ModelConfig, level_channels: tuple[int, ...]) -> None:
        super().__init__()
        self.object_kernels = nn.Embedding(config.queries, config.hidden_dim)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.attention_stride = config.attention_stride if config.interaction == "CA" else 1
        self.position: nn.Conv2d | None = None
        if config.interaction == "CA" and config.attention_positions:
            self.position = nn.Conv2d(20, config.hidden_dim, 1)  # 20 channels of `position_waves`
        self.level_inputs: nn.ModuleList | None = None
        if config.scales == "multi":
            self.level_inputs = nn.ModuleList(nn.Conv2d(c, config.hidden_dim, 1) for c in level_channels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, scene: Scene) -> tuple[Tensor, list[LayerOutput]]:
        """Initial mask logits (B, Q, h, w) and the output of every layer."""
        kernels = self.object_kernels.weight.expand(len(scene.features), -1, -1)  # (B, Q, C)
        initial = masks = torch.einsum("bqc,bchw->bqhw", kernels, scene.features)
        outputs: list[LayerOutput] = []
        for number, layer in enumerate(self.layers):
            outputs.append(layer(scene, self.read(scene, number), kernels, masks))
            kernels, masks = outputs[-1].kernels, outputs[-1].mask_logits
        return initial, outputs

    def read(self, scene: Scene, layer: int) -> Tensor:
        """Input of a layer's interaction (B, C, h', w'), with position encoding if configured.

        Single-scale: F_vs, average-pooled for CA. Multi-scale: the layers cycle through p5, p4 and p3.
        """
        pixels = scene.features
        if self.level_inputs is not None:
            level = layer % len(self.level_inputs)
            pixels = self.level_inputs[level](scene.levels[level])
        elif self.attention_stride > 1:
            pixels = F.avg_pool2d(pixels, self.attention_stride)
        return pixels if self.position is None else pixels + self.position(position_waves(pixels)[None])
