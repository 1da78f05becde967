"""The decoder without unused outputs or repeated computations.

The sum of F_vs inside a layer's masks, computed for its class embeddings, is reused by the next layer's initial
attention. If only the last layer's classes are requested, earlier layers skip theirs. Attention weights are computed on
request. Extra queries (for mask-piloted training and true masks) can be decoded along with the network's own queries,
which do not attend to them.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from eovseg.fast.pooling import pool, uses_float16
from eovseg.fast.values import FastLayerOutput, RequestedOutputs
from eovseg.model.classifier import classification_logits, hard_masks, sum_inside
from eovseg.model.decoder import CrossAttentionInteraction, DDAInteraction, Decoder, DecoderLayer
from eovseg.model.values import Scene


class FastDDA(DDAInteraction):
    """`DDAInteraction` that can reuse a known sum, and that computes in float32 instead of float16."""

    def forward(self, kernels: Tensor, features: Tensor, mask_logits: Tensor, inside: Tensor | None = None) -> Tensor:
        """Like the plain version; `inside` (B, Q, C) is the sum of the features inside the masks, if it is known."""
        if uses_float16(features):
            with torch.autocast(features.device.type, enabled=False):
                known = None if inside is None else inside.float()
                return self.forward(kernels.float(), features.float(), mask_logits.float(), known)
        if inside is None:
            inside = sum_inside(features, hard_masks(mask_logits, features))
        return self.refine(kernels, inside)


class FastCrossAttention(CrossAttentionInteraction):
    """`CrossAttentionInteraction` without torch's fused attention, whose backward pass with masks is slow on CPUs."""

    def attend(self, kernels: Tensor, pixels: Tensor, outside: Tensor) -> Tensor:
        """Like the plain version."""
        attention, channels, heads = self.attention, kernels.shape[-1], self.attention.num_heads
        to_query, to_pixels = attention.in_proj_weight.split([channels, 2 * channels])
        query_bias, pixel_bias = attention.in_proj_bias.split([channels, 2 * channels])
        q = F.linear(kernels, to_query, query_bias).unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, Q, d)
        k, v = F.linear(pixels, to_pixels, pixel_bias).unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (B, heads, Q, hw)
        weights = scores.masked_fill(outside[:, None], -torch.inf).softmax(-1).to(v.dtype)
        attended: Tensor = attention.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return attended


class FastDecoderLayer(DecoderLayer):
    """`DecoderLayer` that computes only the requested outputs."""

    def forward(  # type: ignore[override]  # the fast decoder alone calls it
        self,
        scene: Scene,
        pixels: Tensor,
        before: FastLayerOutput,
        wanted: RequestedOutputs,
        hidden: Tensor | None = None,
    ) -> FastLayerOutput:
        """Like the plain layer, given the output of the one `before`; `hidden` (Q, Q) bool masks pairs of kernels."""
        known = (before.inside,) if isinstance(self.interaction, DDAInteraction) else ()
        kernels = self.interaction(before.kernels, pixels, before.mask_logits, *known)
        attended, attention = self.self_attention(
            kernels, kernels, kernels, attn_mask=hidden, need_weights=wanted.attention
        )
        kernels = self.self_attention_norm(kernels + attended)
        kernels = self.ffn_norm(kernels + self.ffn(kernels))
        mask_logits = self.mask_logits(kernels, scene)
        nothing = kernels.new_zeros(0)
        if not wanted.every_layer:
            return FastLayerOutput(kernels, mask_logits, nothing, nothing, attention)
        inside = pool(scene.features, mask_logits)
        spatial = None
        if self.fusion is not None and scene.spatial is not None:
            same_size = scene.spatial.shape[-2:] == scene.features.shape[-2:]
            spatial = pool(scene.spatial, mask_logits, inside.masks if same_size else None).mean
        instance_embedding, routers = self.instance_embedding(inside.mean, spatial)
        embeddings = self.embed_classes(instance_embedding, kernels)
        logits = classification_logits(embeddings, scene.text, scene.class_index, self.logit_scale, scene.classes)
        return FastLayerOutput(kernels, mask_logits, logits, embeddings, attention, routers, inside.total)


class FastDecoder(Decoder):
    """`Decoder` that can skip outputs and take extra queries."""

    def forward(  # type: ignore[override]  # the fast network alone calls it
        self, scene: Scene, wanted: RequestedOutputs, extra_masks: Tensor | None = None
    ) -> tuple[Tensor, list[FastLayerOutput]]:
        """Initial mask logits and the output of every layer; without `wanted.every_layer` only the last has classes.

        `extra_masks` (B, P, h, w), P <= Q, are the initial mask logits of P extra queries. These follow the network's
        own queries in every output, start from the first P object kernels, and share no self-attention with them.
        """
        kernels = self.object_kernels.weight.to(scene.features.dtype).expand(len(scene.features), -1, -1)
        masks = torch.einsum("bqc,bchw->bqhw", kernels, scene.features)
        hidden = None
        if extra_masks is not None and extra_masks.shape[1]:
            queries, extra = kernels.shape[1], extra_masks.shape[1]
            kernels = torch.cat([kernels, kernels[:, :extra]], dim=1)
            masks = torch.cat([masks, extra_masks.to(masks.dtype)], dim=1)
            group = torch.arange(queries + extra, device=kernels.device) >= queries
            hidden = group[:, None] != group[None, :]
        last = FastLayerOutput(kernels, masks, kernels.new_zeros(0), kernels.new_zeros(0))
        outputs: list[FastLayerOutput] = []
        pixels = None
        for number, layer in enumerate(self.layers):
            if pixels is None or self.level_inputs is not None:  # with a single scale, the input is read only once
                pixels = self.read(scene, number)
            ends = number == len(self.layers) - 1
            last = layer(scene, pixels, last, RequestedOutputs(wanted.attention, wanted.every_layer or ends), hidden)
            outputs.append(last)
            if self.level_inputs is not None:
                last = FastLayerOutput(last.kernels, last.mask_logits, last.class_logits, last.class_embeddings)
        return masks, outputs
