"""The network that predictors and training run: the weights and results of `EOVSeg` in less time and memory."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from eovseg.fast.decoder import FastDecoder
from eovseg.fast.pooling import uses_float16
from eovseg.fast.regression import FastMaskRegression
from eovseg.fast.values import FastLayerOutput, FastLogits, PreparedFeatures, RequestedOutputs
from eovseg.fast.vas import word_rows
from eovseg.model.backbones import ClipResNet
from eovseg.model.network import EOVSeg
from eovseg.model.values import ImageFeatures, TextEmbeddings

ImageEngine = Callable[[Tensor, tuple[int, int]], PreparedFeatures]  # from normalised, padded pixels and photo size


class FastEOVSeg(EOVSeg):
    """`EOVSeg` with fast modules, made by `eovseg.fast.optimise`; it shares the tensors of the original network.

    `image_half` is an image half prepared for inference, with the weights at the time. Without it, or with gradients
    enabled, the image half uses the current weights.
    """

    image_half: ImageEngine | None = None

    def __getstate__(self) -> dict[str, Any]:
        # The weights of a copy may change, and `image_half` would not follow.
        return self.__dict__ | {"image_half": None}

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """The image half: pixels (B, 3, H, W), RGB 0..255, any size -> features independent of the words."""
        images, size = self.normalise(pixels), (pixels.shape[-2], pixels.shape[-1])
        if torch.is_grad_enabled():
            return self.encode_normalised(images, size)
        return self.prepare((self.image_half or self.encode_normalised)(images, size))

    @torch.no_grad()
    def prepare(self, features: ImageFeatures) -> PreparedFeatures:
        """Adds everything in the word half that depends only on the photo: more memory, less time per vocabulary."""
        if not isinstance(features, PreparedFeatures):
            features = PreparedFeatures(**{field.name: getattr(features, field.name) for field in fields(features)})
        if self.vas is not None and features.pixel_embeddings is None:
            features.pixel_embeddings = self.vas.embed(features.aggregated)
        if isinstance(self.feature_extractor, ClipResNet) and features.frozen_attention is None:
            features.frozen_attention = self.feature_extractor.attention(features.dense)
        if self.config.mask_regression and features.regression is None:
            features.regression = FastMaskRegression.on(features.aggregated)
        return features

    def decode(
        self,
        features: ImageFeatures,
        words: TextEmbeddings,
        *,
        pixel_embeddings: bool = False,
        intermediates: bool = False,
        extra_masks: Tensor | None = None,
        final_only: bool = False,
    ) -> FastLogits:
        """The word half: VAS, decoder and both classifiers.

        With `final_only`, it computes masks and classes of the last layer only, with the same values but less work.
        With `pixel_embeddings`, it also returns E of VAS and the word rows, for the dense loss of training.
        `extra_masks` (B, P, h, w) are the initial mask logits of P extra queries, returned separately in `extra_...`.
        """
        text, class_index = self.text_rows(words)
        embedding = self._pixel_embeddings(features)
        selection = self.select(features.aggregated, text, embedding)
        scene = self.scene(features, selection.selected, text, class_index, words.classes + 1)
        assert isinstance(self.decoder, FastDecoder)
        initial, layers = self.decoder(scene, RequestedOutputs(intermediates, not final_only), extra_masks)
        kept: list[FastLayerOutput] = layers[-1:] if final_only else layers
        own, extra = slice(self.config.queries), slice(self.config.queries, None)
        final_masks = kept[-1].mask_logits[:, own]
        outside, valid = self.out_of_vocabulary_logits(features, final_masks, text, class_index, scene.classes)
        inside = (
            self.intermediates(features.aggregated, selection, scene.features, initial, layers)
            if intermediates
            else None
        )
        return FastLogits(
            mask_logits=tuple(layer.mask_logits[:, own] for layer in kept),
            class_logits=tuple(layer.class_logits[:, own] for layer in kept),
            class_embeddings=kept[-1].class_embeddings[:, own],
            out_of_vocabulary_logits=outside,
            valid_masks=valid,
            intermediates=inside,
            pixel_embeddings=embedding if pixel_embeddings else None,
            word_rows=word_rows(self.vas, text) if pixel_embeddings and self.vas is not None else None,
            extra_mask_logits=() if extra_masks is None else tuple(layer.mask_logits[:, extra] for layer in kept),
            extra_class_logits=() if extra_masks is None else tuple(layer.class_logits[:, extra] for layer in kept),
            extra_class_embeddings=None if extra_masks is None else kept[-1].class_embeddings[:, extra],
        )

    def _pixel_embeddings(self, features: ImageFeatures) -> Tensor | None:
        known = features.pixel_embeddings if isinstance(features, PreparedFeatures) else None
        return self.vas.embed(features.aggregated) if known is None and self.vas is not None else known

    def mask_regression(self, features: ImageFeatures) -> FastMaskRegression:
        """Like the plain version, but computed only once per photo."""
        known = features.regression if isinstance(features, PreparedFeatures) else None
        return known or FastMaskRegression.on(features.aggregated)

    def embed_masks(self, features: ImageFeatures, mask_logits: Tensor) -> Tensor:
        """Like the plain version, but reuses CLIP's attention of `prepare` and computes in float32, not float16."""
        encoder, dense = self.feature_extractor, features.dense
        if isinstance(encoder, ClipResNet):
            known = features.frozen_attention if isinstance(features, PreparedFeatures) else None
            return encoder.pool(known or encoder.attention(dense), mask_logits, dense.shape[-2:])
        if not uses_float16(dense):
            return encoder.embed_masks(dense, mask_logits)
        with torch.autocast(dense.device.type, enabled=False):
            return encoder.embed_masks(dense.float(), mask_logits.float())
