"""The complete network in two stages: `encode_image` depends only on the photo, `decode` also on the words.

A third step, `classifier.class_log_probabilities` and `postprocess`, depends on alpha, beta, ensemble and thresholds.
This is the reference network of the paper; `eovseg.fast.optimise` builds a faster one with the same weights and output.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.aggregator import LiteAggregator
from eovseg.model.backbones import FeatureExtractor, build_towers
from eovseg.model.classifier import classification_logits, resize_masks
from eovseg.model.config import ModelConfig
from eovseg.model.decoder import Decoder
from eovseg.model.fusion import EarlyAggregationFusion
from eovseg.model.regression import MaskRegression
from eovseg.model.spatial import SpatialExtractor, SpatialUpscaling
from eovseg.model.text import encode_words
from eovseg.model.trained import PartlyTrained
from eovseg.model.values import ImageFeatures, Intermediates, LayerOutput, Logits, Scene, Selection, TextEmbeddings
from eovseg.model.vas import VocabularyAwareSelection

SIZE_DIVISOR = 32


class EOVSeg(PartlyTrained):
    """EOV-Seg with a given configuration; the encoders are frozen and always in evaluation mode.

    With `pretrained`, the frozen encoders load their published weights (XS always does); otherwise they must come from
    a checkpoint.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ModelConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        channels, width = config.hidden_dim, config.embed_dim
        self.feature_extractor: FeatureExtractor
        self.feature_extractor, self.text_encoder = build_towers(config, pretrained)
        self.aggregator = LiteAggregator(
            self.feature_extractor.channels,
            config.aggregator_dim,
            channels,
            config.lateral_channels,
            zero_offsets=config.initialisation == "short",
        )
        self.vas = VocabularyAwareSelection(channels, width, config.vas_heads) if config.vas else None
        self.spatial_extractor: SpatialExtractor | None = None
        self.spatial_upscaling: SpatialUpscaling | None = None
        self.early_fusion: EarlyAggregationFusion | None = None
        if config.initialisation == "short":
            self._initialise_for_short_runs()
        if config.fusion != "none":
            self.spatial_extractor = SpatialExtractor(
                config.spatial_extractor, config.spatial_block, config.spatial_dim, pretrained
            )
            if config.fusion == "EAF":
                self.early_fusion = EarlyAggregationFusion(channels, config.spatial_dim)
            else:
                self.spatial_upscaling = SpatialUpscaling(config.spatial_dim)
        self.decoder = Decoder(config, self.aggregator.lateral_channels[:3])
        self.void_embedding = nn.Embedding(1, width)
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)
        for encoder in self.frozen_towers():
            encoder.requires_grad_(False)
        if self.vas is not None and not config.vas_offset:
            self.vas.offset.requires_grad_(False)
        self.train(self.training)

    def _initialise_for_short_runs(self) -> None:
        """Initialisation for short training runs, different from the released one."""
        if self.vas is not None:
            # As released, all words start equally similar and F_vs = F_agg / words, which takes thousands of steps to
            # change. With these values, words differ and pixels are not suppressed, from the first step on.
            nn.init.normal_(self.vas.guide.weight, std=2.5)
            nn.init.ones_(self.vas.offset if self.config.vas_offset else self.vas.scale)
        # Xavier gives F_agg a standard deviation of 10, which saturates the initial masks; this reduces it to about 1.
        with torch.no_grad():
            self.aggregator.coordinate_conv.weight.mul_(0.1)

    def frozen_towers(self) -> list[nn.Module]:
        """Modules that are never trained: the image encoder, the text encoder, and a pretrained spatial extractor."""
        frozen: list[nn.Module] = [self.feature_extractor, self.text_encoder]
        if self.spatial_extractor is not None and self.config.spatial_extractor != "own":
            frozen.append(self.spatial_extractor)
        return frozen

    @torch.no_grad()
    def encode_words(self, words: Sequence[str]) -> Tensor:
        """Unit embeddings of words, averaged over the prompts: n strings -> (n, D)."""
        return encode_words(self.text_encoder, words, self.config.prompts).to(self.void_embedding.weight.dtype)

    def normalise(self, pixels: Tensor) -> Tensor:
        """RGB 0..255 (B, 3, H, W) -> encoder input, zero-padded on the right and bottom to multiples of 32."""
        height, width = pixels.shape[-2:]
        images = (pixels.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        return F.pad(images, (0, -width % SIZE_DIVISOR, 0, -height % SIZE_DIVISOR))

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """The image half: pixels (B, 3, H, W), RGB 0..255, any size -> features independent of the words."""
        return self.encode_normalised(self.normalise(pixels), (pixels.shape[-2], pixels.shape[-1]))

    def encode_normalised(self, images: Tensor, image_size: tuple[int, int]) -> ImageFeatures:
        """The image half for encoder input (B, 3, H, W), H and W multiples of 32; `image_size` is without padding."""
        with torch.no_grad():
            maps = self.feature_extractor(images)
        aggregated, levels = self.aggregator(maps.levels)
        spatial = None
        if self.spatial_extractor is not None:
            spatial = self.spatial_extractor(images)
            if self.spatial_upscaling is not None:
                spatial = self.spatial_upscaling(spatial)
        return ImageFeatures(
            aggregated=aggregated,
            levels=levels if self.config.scales == "multi" else (),
            spatial=spatial,
            dense=maps.dense,
            image_size=image_size,
            padded_size=(images.shape[-2], images.shape[-1]),
        )

    def decode(self, features: ImageFeatures, words: TextEmbeddings) -> Logits:
        """The word-dependent stage: VAS, decoder and both classifiers."""
        text, class_index = self.text_rows(words)
        selection = self.select(features.aggregated, text)
        scene = self.scene(features, selection.selected, text, class_index, words.classes + 1)
        initial, layers = self.decoder(scene)
        outside, valid = self.out_of_vocabulary_logits(
            features, layers[-1].mask_logits, text, class_index, scene.classes
        )
        return Logits(
            mask_logits=tuple(layer.mask_logits for layer in layers),
            class_logits=tuple(layer.class_logits for layer in layers),
            class_embeddings=layers[-1].class_embeddings,
            out_of_vocabulary_logits=outside,
            valid_masks=valid,
            intermediates=self.intermediates(features.aggregated, selection, scene.features, initial, layers),
        )

    def text_rows(self, words: TextEmbeddings) -> tuple[Tensor, Tensor]:
        """Word embeddings followed by the learned, normalised void embedding (N+1, D), and the class of each row."""
        void = F.normalize(self.void_embedding.weight, dim=-1)
        rows = torch.cat([words.embeddings.to(void), void])
        index = words.class_index.to(void.device)
        return rows, torch.cat([index, index.new_tensor([words.classes])])

    def select(self, aggregated: Tensor, text: Tensor, embedding: Tensor | None = None) -> Selection:
        """VAS with its intermediate steps: F_agg (B, C, h, w) and text rows (N+1, D) -> F_vs; F_agg without VAS.

        `embedding` is E (B, D, h, w) of F_agg, if it is known.
        """
        if self.vas is None:
            return Selection(aggregated)
        attention = self.vas.attention_maximum(self.vas.embed(aggregated) if embedding is None else embedding, text)
        weights = self.vas.weights(attention)
        return Selection(self.vas.select(aggregated, weights), attention, weights)

    def scene(
        self, features: ImageFeatures, selected: Tensor, text: Tensor, class_index: Tensor, classes: int
    ) -> Scene:
        """Input of the decoder; with EAF, the spatial map is already merged into F_vs."""
        spatial = features.spatial
        if self.early_fusion is not None and spatial is not None:
            selected, spatial = self.early_fusion(selected, spatial), None
        regression = self.mask_regression(features) if self.config.mask_regression else None
        return Scene(selected, features.levels, spatial, text, class_index, classes, regression)

    def mask_regression(self, features: ImageFeatures) -> MaskRegression:
        """The regression that improves this photo's masks."""
        return MaskRegression.on(features.aggregated)

    @torch.no_grad()
    def out_of_vocabulary_logits(
        self, features: ImageFeatures, mask_logits: Tensor, text: Tensor, class_index: Tensor, classes: int
    ) -> tuple[Tensor, Tensor]:
        """Class logits (B, Q, classes) of the frozen encoder (App. B), void last, and validity of each mask (B, Q)."""
        embedded = self.embed_masks(features, mask_logits)
        scale = self.feature_extractor.logit_scale.to(embedded.dtype)
        logits = classification_logits(embedded, text, class_index, scale, classes)
        if not self.config.ensemble_on_valid_masks:
            return logits, torch.ones(mask_logits.shape[:2], dtype=torch.bool, device=mask_logits.device)
        return logits, (resize_masks(mask_logits, features.dense.shape[-2:]) > 0).flatten(2).any(-1)

    def embed_masks(self, features: ImageFeatures, mask_logits: Tensor) -> Tensor:
        """The frozen image encoder's embedding of every mask: (B, Q, h, w) -> (B, Q, D), not normalised."""
        return self.feature_extractor.embed_masks(features.dense, mask_logits)

    @staticmethod
    def intermediates(
        aggregated: Tensor, selection: Selection, selected: Tensor, initial: Tensor, layers: Sequence[LayerOutput]
    ) -> Intermediates:
        """Intermediate values; `selected` is the decoder's input."""
        return Intermediates(
            aggregated=aggregated,
            vas_weights=selection.weights,
            vas_attention=selection.attention,
            selected=selected,
            initial_mask_logits=initial,
            object_kernels=tuple(layer.kernels for layer in layers),
            self_attention=tuple(layer.attention for layer in layers if layer.attention is not None),
            routers=tuple(layer.routers for layer in layers if layer.routers is not None),
        )
