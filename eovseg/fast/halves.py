"""The network's halves and text encoder as modules with only tensors as inputs and outputs.

Other engines compile, convert or export them. The results are those of the network.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.fast.network import FastEOVSeg
from eovseg.fast.values import PreparedFeatures, RequestedOutputs
from eovseg.model.minilm import MiniLM
from eovseg.model.network import EOVSeg
from eovseg.model.text import ClipTextEncoder, MiniLMTextEncoder, average_prompts
from eovseg.model.values import ImageFeatures

STRIDE = 32


class ImageHalf(nn.Module):
    """Normalised, padded pixels (B, 3, H, W) -> the maps of `names`, then p5, p4 and p3 of multi-scale networks.

    `names` are F_agg, the dense map, S if the network has it, and E of VAS unless `embeddings` is False.
    """

    def __init__(self, network: EOVSeg, embeddings: bool = True) -> None:
        super().__init__()
        self.network = network
        self.names = ["aggregated", "dense"]
        self.names += ["spatial"] if network.spatial_extractor is not None else []
        self.names += ["pixel_embeddings"] if embeddings and network.vas is not None else []

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The tensors of `names` and the levels, each (B, C, h, w)."""
        features = self.network.encode_normalised(images, (0, 0))
        found = [features.aggregated, features.dense]
        if features.spatial is not None:
            found.append(features.spatial)
        if "pixel_embeddings" in self.names and self.network.vas is not None:
            found.append(self.network.vas.embed(features.aggregated))
        return (*found, *features.levels)


def features_of(
    names: Sequence[str], found: Sequence[Tensor], size: tuple[int, int], padded: tuple[int, int]
) -> PreparedFeatures:
    """The features of the network's own image half, from the outputs of an `ImageHalf` in any engine."""
    given = dict(zip(names, found, strict=False))
    return PreparedFeatures(
        aggregated=given["aggregated"],
        levels=tuple(found[len(names) :]),
        spatial=given.get("spatial"),
        dense=given["dense"],
        image_size=size,
        padded_size=padded,
        pixel_embeddings=given.get("pixel_embeddings"),
    )


class FromPixels(nn.Module):
    """`half` for pixels (1, 3, H, W), RGB 0..255, H and W multiples of 32."""

    def __init__(self, half: ImageHalf) -> None:
        super().__init__()
        self.image_half = half

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Does not pad like `normalise`: the sides are already multiples of 32, which keeps the graph simpler."""
        network = self.image_half.network
        outputs: tuple[Tensor, ...] = self.image_half((pixels - network.pixel_mean) / network.pixel_std)
        return outputs


class WordHalf(nn.Module):
    """The image half's outputs without E, and word rows (N, D) -> mask logits (1, Q, h, w), in- and out-of-vocabulary
    logits (1, Q, N + 1), void last, and the initial mask logits.

    Every word is a class of its own; for synonyms, the caller takes the maximum over their columns.
    """

    def __init__(self, network: FastEOVSeg) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, aggregated: Tensor, dense: Tensor, words: Tensor, spatial: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """`spatial` is S, if the network has a spatial extractor."""
        network = self.network
        size = (aggregated.shape[-2] * 4, aggregated.shape[-1] * 4)
        features = ImageFeatures(aggregated, (), spatial, dense, size, size)
        text = torch.cat([words, F.normalize(network.void_embedding.weight, dim=-1)])
        classes = text.shape[0]
        rows = torch.arange(classes)
        scene = network.scene(features, network.select(aggregated, text).selected, text, rows, classes)
        initial, layers = network.decoder(scene, RequestedOutputs(every_layer=False))
        masks = layers[-1].mask_logits
        outside, _ = network.out_of_vocabulary_logits(features, masks, text, rows, classes)
        return masks, layers[-1].class_logits, outside, initial


class TextHalf(nn.Module):
    """Token ids (N, prompts, T), padded with 0 after the end of each prompt -> unit rows (N, D) of N words."""

    def __init__(self, encoder: ClipTextEncoder | MiniLMTextEncoder) -> None:
        super().__init__()
        self.encoder: nn.Module = encoder.tower if isinstance(encoder, MiniLMTextEncoder) else encoder.clip

    @property
    def longest(self) -> int:
        """The maximum number of tokens per prompt."""
        encoder: Any = self.encoder
        table: Any = encoder.positions.weight if isinstance(encoder, MiniLM) else encoder.positional_embedding
        return len(table)

    def forward(self, tokens: Tensor) -> Tensor:
        """Like `encode_words`."""
        words, prompts = tokens.shape[:2]
        tokens = tokens.flatten(0, 1)
        if isinstance(self.encoder, MiniLM):
            embeddings = self.encoder.embed(tokens, tokens != 0)
        else:
            embeddings = _clip_embeddings(self.encoder, tokens)
        return average_prompts(embeddings.unflatten(0, (words, prompts)))


def _clip_embeddings(clip: Any, tokens: Tensor) -> Tensor:
    """CLIP's embedding at the end token, which has the largest id: (n, T) -> (n, D)."""
    places = tokens.shape[1]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:places]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:places, :places])
    return clip.ln_final(x[torch.arange(x.shape[0]), tokens.argmax(-1)]) @ clip.text_projection
