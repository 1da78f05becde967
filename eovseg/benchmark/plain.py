"""The plain implementation: what the fast one is measured against and must equal.

Same weights, eager, step by step as released: the whole softmax of VAS, spatial features and masks of all queries at
full size, every layer's classes, one matrix product per use, a loop over segments. Kept apart from `eovseg.model` on
purpose: a change that makes the network faster must not make this faster as well.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from eovseg.model.aggregator import DeformableUpsample, LiteAggregator
from eovseg.model.backbones import ClipResNet, FeatureExtractor
from eovseg.model.classifier import class_log_probabilities, classification_logits
from eovseg.model.decoder import DDAInteraction, DecoderLayer
from eovseg.model.geometry import MaskGeometry
from eovseg.model.network import EOVSeg, ImageFeatures, Logits, TextEmbeddings
from eovseg.model.postprocess import SegmentRecord
from eovseg.model.spatial import resize_position_embedding
from eovseg.model.vas import VocabularyAwareSelection


@dataclass
class PlainDecoded:
    """The word half: logits, and the two arrays that are compared with the fast implementation."""

    logits: Logits
    selected: Tensor  # F_vs (B, C, h, w)
    first_masks: Tensor  # mask logits of the learned kernels (B, Q, h, w)


@torch.inference_mode()
def encode_image(network: EOVSeg, pixels: Tensor) -> ImageFeatures:
    """The image half of `pixels` (B, 3, H, W), RGB 0..255."""
    images = network.normalise(pixels)
    tower = network.feature_extractor(images)
    aggregated, levels = _aggregate(network.aggregator, tower.levels)
    spatial = None
    if network.spatial_extractor is not None:
        spatial = network.spatial_extractor(images)
        if network.spatial_upscaling is not None:
            for step in network.spatial_upscaling:
                spatial = step(spatial)
    return ImageFeatures(
        aggregated=aggregated,
        levels=levels if network.config.scales == "multi" else (),
        spatial=spatial,
        dense=tower.dense,
        image_size=(pixels.shape[-2], pixels.shape[-1]),
        padded_size=(images.shape[-2], images.shape[-1]),
    )


def _aggregate(aggregator: LiteAggregator, features: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    coarse_first = list(reversed(features))
    level = aggregator.laterals[0](coarse_first[0])
    levels = [level]
    for upsampler, lateral, feature in zip(
        aggregator.upsamplers, aggregator.laterals[1:], coarse_first[1:], strict=True
    ):
        assert isinstance(upsampler, DeformableUpsample)
        values = upsampler.offset(level)
        deformed = deform_conv2d(
            level, values[:, :18], upsampler.deform_weight, padding=1, mask=values[:, 18:].sigmoid()
        )
        level = F.relu(upsampler.deform_norm(deformed))
        level = lateral(feature) + F.relu(upsampler.upsample_norm(upsampler.upsample(level)))
        levels.append(level)
    height, width = levels[-1].shape[-2:]
    total: Tensor = aggregator.bias
    for projection, level in zip(aggregator.level_projections, levels, strict=True):
        level = projection(level)
        total = total + F.interpolate(level, (height, width), mode="bilinear", align_corners=False)
    total = aggregator.output(total)
    like: dict[str, Any] = {"dtype": total.dtype, "device": total.device}
    x = torch.linspace(-1, 1, width, **like).expand(len(total), 1, height, width)
    y = torch.linspace(-1, 1, height, **like)[:, None].expand(len(total), 1, height, width)
    return aggregator.coordinate_conv(torch.cat([total, x, y], dim=1)), tuple(levels[:3])


@torch.inference_mode()
def decode(network: EOVSeg, features: ImageFeatures, words: TextEmbeddings) -> PlainDecoded:
    """The word half."""
    text, index = network.text_rows(words)
    classes = words.classes + 1
    selected = features.aggregated if network.vas is None else _select(network.vas, features.aggregated, text)
    spatial = features.spatial
    if network.early_fusion is not None and spatial is not None:
        selected, spatial = network.early_fusion(selected, spatial), None
    kernels = network.decoder.object_kernels.weight.expand(len(selected), -1, -1)
    first = masks = torch.einsum("bqc,bchw->bqhw", kernels, selected)
    inputs = network.decoder.level_inputs
    mask_logits, class_logits = [], []
    for number, layer in enumerate(network.decoder.layers):
        assert isinstance(layer, DecoderLayer)
        read = network.decoder.read(selected)
        if inputs is not None:
            read = network.decoder.placed(inputs[number % len(inputs)](features.levels[number % len(inputs)]))
        kernels, masks, embeddings = _layer(layer, selected, read, spatial, kernels, masks)
        mask_logits.append(masks)
        class_logits.append(classification_logits(embeddings, text, index, layer.logit_scale, classes))
    embedded = _embed_masks(network.feature_extractor, features.dense, masks)
    scale = network.feature_extractor.logit_scale
    valid = torch.ones(masks.shape[:2], dtype=torch.bool, device=masks.device)
    if network.config.ensemble_on_valid_masks:
        valid = (_resize(masks, features.dense) > 0).flatten(2).any(-1)
    logits = Logits(
        mask_logits=tuple(mask_logits),
        class_logits=tuple(class_logits),
        class_embeddings=embeddings,
        out_of_vocabulary_logits=classification_logits(embedded, text, index, scale, classes),
        valid_masks=valid,
    )
    return PlainDecoded(logits, selected, first)


def _select(vas: VocabularyAwareSelection, features: Tensor, text: Tensor) -> Tensor:
    """VAS with the softmax over all words held for all pixels."""
    attention = vas.similarity(vas.embed(features), text).softmax(dim=2)  # (B, heads, N, hw)
    maximum = attention.max(dim=2).values.unflatten(-1, features.shape[-2:])
    weights = maximum * vas.scale + vas.offset
    return (features.unflatten(1, (vas.heads, -1)) * weights.unsqueeze(2).to(features.dtype)).flatten(1, 2)


def _layer(
    layer: DecoderLayer, features: Tensor, read: Tensor, spatial: Tensor | None, kernels: Tensor, masks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One decoder layer: new kernels (B, Q, C), mask logits (B, Q, h, w) and class embeddings (B, Q, D)."""
    interaction = layer.interaction
    if isinstance(interaction, DDAInteraction):
        hard = (_resize(masks, read).sigmoid() > 0.5).to(features.dtype)
        inside = torch.einsum("bqhw,bchw->bqc", hard, read)
        inside = interaction.feature_norm(inside + interaction.feature_attention(kernels, inside))
        kernels = interaction.kernel_norm(inside + interaction.kernel_attention(kernels, inside))
    else:
        kernels = interaction(kernels, read, masks)
    attended, _ = layer.self_attention(kernels, kernels, kernels, need_weights=False)
    kernels = layer.self_attention_norm(kernels + attended)
    kernels = layer.ffn_norm(kernels + layer.ffn(kernels))
    masks = layer.mask_logits(kernels, features)
    fused = layer.feature_projection(_pool(features, masks))
    if layer.fusion is not None and spatial is not None:
        from_spatial = layer.spatial_projection(_pool(spatial, masks))
        fused = layer.fusion(fused, from_spatial)
    return kernels, masks, layer.class_embed(fused + kernels)


def _resize(masks: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(masks, like.shape[-2:], mode="bilinear", align_corners=False)


def _pool(features: Tensor, masks: Tensor) -> Tensor:
    hard = (_resize(masks, features) > 0).to(features.dtype)
    return torch.einsum("bqhw,bchw->bqc", hard, features) / (hard.sum(dim=(-1, -2)).unsqueeze(-1) + 1e-8)


def _embed_masks(extractor: FeatureExtractor, dense: Tensor, masks: Tensor) -> Tensor:
    """The frozen tower's embedding of every mask, keys and values projected anew each time."""
    if not isinstance(extractor, ClipResNet):
        return extractor.embed_masks(dense, masks)  # pools the small map, then a linear head: nothing to spare there
    pool = extractor.visual.attnpool
    inside = _resize(masks, dense).flatten(2) > 0
    size = (dense.shape[-2], dense.shape[-1])
    positions = resize_position_embedding(pool.positional_embedding[None], size, 1)[0]
    tokens = dense.flatten(2).transpose(1, 2)
    query = pool.q_proj(tokens.mean(dim=1) + positions[0]).unflatten(-1, (pool.num_heads, -1))
    tokens = tokens + positions[1:]
    key = pool.k_proj(tokens).unflatten(-1, (pool.num_heads, -1))
    value = pool.v_proj(tokens).unflatten(-1, (pool.num_heads, -1))
    score = torch.einsum("bhd,bphd->bhp", query, key) / query.shape[-1] ** 0.5
    score = score.unsqueeze(1).masked_fill(~inside.unsqueeze(2), -torch.inf)
    attention = score.softmax(-1).nan_to_num(0.0)
    return pool.c_proj(torch.einsum("bqhp,bphd->bqhd", attention, value).flatten(2))


@torch.inference_mode()
def panoptic(
    logits: Logits,
    seen: Tensor,
    is_thing: Tensor,
    geometry: MaskGeometry,
    alpha: float,
    beta: float,
    score_threshold: float,
    overlap_threshold: float,
    void_threshold: float | None,
) -> tuple[Tensor, list[SegmentRecord]]:
    """Panoptic map (H, W) int32 and records of one photo: every query's mask at full size, then segment by segment."""
    scores = class_log_probabilities(logits, seen, alpha, beta)[0]
    masks = F.interpolate(logits.mask_logits[-1], geometry.padded_size, mode="bilinear", align_corners=False)
    masks = masks[..., : geometry.input_size[0], : geometry.input_size[1]]
    masks = F.interpolate(masks, geometry.output_size, mode="bilinear", align_corners=False)[0]
    probabilities = scores.softmax(-1)
    if void_threshold is None:
        best, labels = probabilities.max(-1)
        keep = labels != probabilities.shape[-1] - 1
    else:
        best, labels = probabilities[:, :-1].max(-1)
        keep = probabilities[:, -1] <= void_threshold
    keep &= best > score_threshold
    segment_map = torch.zeros(geometry.output_size, dtype=torch.int32)
    records: list[SegmentRecord] = []
    queries = keep.nonzero().flatten().tolist()
    if not queries:
        return segment_map, records
    inside = masks[keep].sigmoid()
    winner = (best[keep][:, None, None] * inside).argmax(0)
    stuff: dict[int, int] = {}
    for row, query in enumerate(queries):
        label, score = int(labels[query]), float(best[query])
        won, own = (winner == row).sum().item(), (inside[row] >= 0.5).sum().item()
        segment = (winner == row) & (inside[row] >= 0.5)
        if not (won and own and segment.sum().item()) or won / own < overlap_threshold:
            continue
        thing = bool(is_thing[label])
        if not thing and label in stuff:
            number = stuff[label]
            if score > records[number - 1].score:
                records[number - 1] = SegmentRecord(number, label, thing, query, score)
        else:
            number = len(records) + 1
            records.append(SegmentRecord(number, label, thing, query, score))
            stuff |= {} if thing else {label: number}
        segment_map[segment] = number
    return segment_map, records
