"""The whole network in two halves: `encode_image` depends on the photo only, `decode` on the words too.

A third step, `classifier.class_log_probabilities` and `postprocess`, depends on alpha, beta, ensemble and thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import ConfigError
from eovseg.model.aggregator import LiteAggregator
from eovseg.model.backbones import ClipResNet, FeatureExtractor, FrozenAttention, build_towers
from eovseg.model.classifier import classification_logits, resize_masks
from eovseg.model.config import ModelConfig
from eovseg.model.decoder import Decoder
from eovseg.model.fusion import EarlyAdditiveFusion
from eovseg.model.spatial import SpatialExtractor, SpatialUpscaling
from eovseg.model.tdee import RouterWeights
from eovseg.model.text import encode_words
from eovseg.model.vas import VocabularyAwareSelection

SIZE_DIVISOR = 32


@dataclass
class TextEmbeddings:
    """One unit row per word (synonym): `embeddings` (N, D), `class_index` (N,) long, ascending, every class present."""

    embeddings: Tensor
    class_index: Tensor

    @property
    def classes(self) -> int:
        """K, number of classes."""
        return int(self.class_index[-1]) + 1


@dataclass
class ImageFeatures:
    """All that depends on the photo alone; keep it to try other words."""

    aggregated: Tensor  # F_agg (B, C, H/4, W/4)
    levels: tuple[Tensor, ...]  # p5, p4, p3, only when the config's scales are "multi"
    spatial: Tensor | None  # S (B, C_s, H/4, W/4); EAF: the raw map at H/16; None without a spatial extractor
    dense: Tensor  # clip_vis_dense (B, C_d, H/32, W/32)
    image_size: tuple[int, int]  # H, W before padding
    padded_size: tuple[int, int]
    # What the word half would else compute again for each vocabulary; None where `prepare` has not run.
    pixel_embeddings: Tensor | None = None  # E of VAS (B, D, H/4, W/4)
    frozen_attention: FrozenAttention | None = None  # M and S only


@dataclass
class Intermediates:
    """What happens inside, for people who want to look; batch first, h and w at stride 4."""

    aggregated: Tensor  # F_agg (B, C, h, w)
    vas_weights: Tensor | None  # (B, heads, h, w), scale and offset applied
    vas_attention: Tensor | None  # (B, heads, h, w), max over words of the softmax
    selected: Tensor  # F_vs (B, C, h, w)
    initial_mask_logits: Tensor  # (B, Q, h, w)
    object_kernels: tuple[Tensor, ...]  # a layer: (B, Q, C)
    self_attention: tuple[Tensor, ...]  # a layer: (B, Q, Q), mean over heads, rows sum to 1
    routers: tuple[RouterWeights, ...]  # a layer: alpha_m, alpha_s (B, Q, C); empty without TDEE


@dataclass
class Logits:
    """Raw scores of all words; B photos, Q queries, K classes, void last."""

    mask_logits: tuple[Tensor, ...]  # a layer: (B, Q, h, w) at stride 4 of the padded photo, last = final
    class_logits: tuple[Tensor, ...]  # a layer: (B, Q, K+1)
    class_embeddings: Tensor  # (B, Q, D), last layer, not normalised
    out_of_vocabulary_logits: Tensor  # (B, Q, K+1), the frozen tower's; its void column is not used
    valid_masks: Tensor  # (B, Q) bool: the mask weighs in the out-of-vocabulary score
    pixel_embeddings: Tensor | None = None  # E (B, D, h, w) and rows (N+1, D), void last, whose products are VAS's
    word_rows: Tensor | None = None  # scaled similarities (mean over heads); only on request, for training
    extra_mask_logits: tuple[Tensor, ...] = ()  # as mask_logits, for the P extra queries
    extra_class_logits: tuple[Tensor, ...] = ()
    intermediates: Intermediates | None = field(default=None, repr=False)


class EOVSeg(nn.Module):
    """EOV-Seg of one configuration; towers frozen and always in evaluation mode.

    With `pretrained` the frozen towers load their own published weights (XS always has them); otherwise a checkpoint
    must bring them.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ModelConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self._held: list[nn.Module] = []
        self.feature_extractor: FeatureExtractor
        self.feature_extractor, self.text_encoder = build_towers(config, pretrained)
        self.aggregator = LiteAggregator(
            self.feature_extractor.channels,
            config.aggregator_dim,
            config.hidden_dim,
            config.lateral_channels,
            zero_offsets=config.initialisation == "short",
        )
        self.vas: VocabularyAwareSelection | None = None
        if config.vas:
            self.vas = VocabularyAwareSelection(config.hidden_dim, config.embed_dim, config.embed_dim, config.vas_heads)
            if config.initialisation == "short":
                # As released, all words start equally similar and F_vs = F_agg / words: thousands of steps go by before
                # either grows. With these two values words differ and pixels pass from the first step on.
                nn.init.normal_(self.vas.guide.weight, std=2.5)
                nn.init.ones_(self.vas.offset if config.vas_offset else self.vas.scale)
        if config.initialisation == "short":
            # Xavier gives F_agg a deviation of 10, so that the first masks are saturated; this makes it about 1.
            with torch.no_grad():
                self.aggregator.coordinate_conv.weight.mul_(0.1)
        self.spatial_extractor: SpatialExtractor | None = None
        self.spatial_upscaling: SpatialUpscaling | None = None
        self.early_fusion: EarlyAdditiveFusion | None = None
        if config.fusion != "none":
            self.spatial_extractor = SpatialExtractor(
                config.spatial_extractor, config.spatial_block, config.spatial_dim, pretrained
            )
            if config.fusion == "EAF":
                self.early_fusion = EarlyAdditiveFusion(config.hidden_dim, config.spatial_dim)
            else:
                self.spatial_upscaling = SpatialUpscaling(config.spatial_dim)
        self.decoder = Decoder(config, self.aggregator.lateral_channels[:3])
        self.void_embedding = nn.Embedding(1, config.embed_dim)
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)
        for tower in self.frozen_towers():
            tower.requires_grad_(False)
        if self.vas is not None and not config.vas_offset:
            self.vas.offset.requires_grad_(False)
        self.train(self.training)

    def frozen_towers(self) -> list[nn.Module]:
        """Parts that are never trained: the image tower, the text tower, and a published spatial extractor."""
        towers: list[nn.Module] = [self.feature_extractor, self.text_encoder]
        if self.spatial_extractor is not None and self.config.spatial_extractor != "own":
            towers.append(self.spatial_extractor)
        return towers

    def train(self, mode: bool = True) -> "EOVSeg":
        """Training mode for the trained parts only."""
        super().train(mode)
        for part in (*self.frozen_towers(), *self._held):
            part.eval()
        return self

    def hold(self, parts: Sequence[str]) -> None:
        """Keep these parts (aggregator, vas, …) as they are: no gradient, batch norms in evaluation mode.

        Raises `ConfigError` for a part that this network does not have.
        """
        for name in parts:
            part = getattr(self, name, None)
            if not isinstance(part, nn.Module):
                known = ", ".join(child for child, _ in self.named_children())
                raise ConfigError(f"This network has no part {name!r} to hold; choose from {known}.")
            self._held.append(part.requires_grad_(False))
        self.train(self.training)

    def trained_state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers of everything but the frozen towers; the joint space of XS counts as trained."""
        frozen = {id(t) for tower in self.frozen_towers() for t in (*tower.parameters(), *tower.buffers())}
        joint = getattr(self.feature_extractor, "joint_space", None)
        if joint is not None:
            frozen -= {id(t) for t in (*joint.parameters(), *joint.buffers())}
        state = self.state_dict(keep_vars=True)
        return {name: tensor.detach() for name, tensor in state.items() if id(tensor) not in frozen}

    def load_trained_state_dict(self, state: dict[str, Tensor]) -> None:
        """Inverse of `trained_state_dict`; raises KeyError when names differ, ValueError when shapes do."""
        own = self.trained_state_dict()
        if own.keys() != state.keys():
            raise KeyError(f"differing tensors: {', '.join(sorted(own.keys() ^ state.keys())[:5])}")
        for name, tensor in state.items():
            if own[name].shape != tensor.shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
        self.load_state_dict(state, strict=False)

    @torch.no_grad()
    def encode_words(self, words: Sequence[str]) -> Tensor:
        """Unit embeddings of words, averaged over the prompts: n strings -> (n, D)."""
        return encode_words(self.text_encoder, words, self.config.prompts).to(self.void_embedding.weight.dtype)

    def normalise(self, pixels: Tensor) -> Tensor:
        """RGB 0..255 (B, 3, H, W) -> tower input, zero-padded right and below to multiples of 32."""
        height, width = pixels.shape[-2:]
        images = (pixels.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        return F.pad(images, (0, -width % SIZE_DIVISOR, 0, -height % SIZE_DIVISOR))

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """The image half: pixels (B, 3, H, W), RGB 0..255, any size -> features that no word changes."""
        return self.encode_normalised(self.normalise(pixels), (pixels.shape[-2], pixels.shape[-1]))

    def encode_normalised(self, images: Tensor, image_size: tuple[int, int]) -> ImageFeatures:
        """The image half of tower input (B, 3, H, W), H and W multiples of 32; `image_size` is that before padding."""
        with torch.no_grad():
            tower = self.feature_extractor(images)
        aggregated, levels = self.aggregator(tower.levels)
        spatial = None
        if self.spatial_extractor is not None:
            spatial = self.spatial_extractor(images)
            if self.spatial_upscaling is not None:
                spatial = self.spatial_upscaling(spatial)
        return ImageFeatures(
            aggregated=aggregated,
            levels=levels if self.config.scales == "multi" else (),
            spatial=spatial,
            dense=tower.dense,
            image_size=image_size,
            padded_size=(images.shape[-2], images.shape[-1]),
        )

    @torch.no_grad()
    def prepare(self, features: ImageFeatures) -> ImageFeatures:
        """Also keep what the word half needs of the photo alone; costs memory, spares time with every vocabulary."""
        if self.vas is not None and features.pixel_embeddings is None:
            features.pixel_embeddings = self.vas.embed(features.aggregated)
        if isinstance(self.feature_extractor, ClipResNet) and features.frozen_attention is None:
            features.frozen_attention = self.feature_extractor.attention(features.dense)
        return features

    def text_rows(self, words: TextEmbeddings) -> tuple[Tensor, Tensor]:
        """Word rows with the learned, normalised void row appended: (N+1, D) and the class of each row."""
        void = F.normalize(self.void_embedding.weight, dim=-1)
        rows = torch.cat([words.embeddings.to(void), void])
        index = words.class_index.to(void.device)
        return rows, torch.cat([index, index.new_tensor([words.classes])])

    def decode(
        self,
        features: ImageFeatures,
        words: TextEmbeddings,
        *,
        pixel_embeddings: bool = False,
        intermediates: bool = False,
        extra_masks: Tensor | None = None,
        final_only: bool = False,
    ) -> Logits:
        """The word half: VAS, decoder and both classifiers -> `Logits`.

        `final_only`: masks and classes of the last layer alone, with the same values; the least work.

        `pixel_embeddings` also returns what VAS compares, for the dense loss of training. `extra_masks`
        (B, P, h, w) are initial mask logits of P further queries, returned apart in `extra_...`.
        """
        text, class_index = self.text_rows(words)
        classes = words.classes + 1
        selected, embedding, attention, weights = self.select(features.aggregated, text, features.pixel_embeddings)
        spatial = features.spatial
        if self.early_fusion is not None and spatial is not None:
            selected, spatial = self.early_fusion(selected, spatial), None
        initial, layers = self.decoder(
            selected, features.levels, spatial, text, class_index, classes, extra_masks, intermediates, final_only
        )
        last = layers[-1].classes
        assert last is not None
        kept = layers[-1:] if final_only else layers
        queries = self.config.queries
        final_masks = layers[-1].mask_logits[:, :queries]
        out_logits, valid = self.out_of_vocabulary_logits(features, final_masks, text, class_index, classes)
        inside = None
        if intermediates:
            given = [layer.classes.routers for layer in layers if layer.classes is not None]
            routers = tuple(router for router in given if router is not None)
            inside = Intermediates(
                aggregated=features.aggregated,
                vas_weights=weights,
                vas_attention=attention,
                selected=selected,
                initial_mask_logits=initial,
                object_kernels=tuple(layer.kernels for layer in layers),
                self_attention=tuple(layer.attention for layer in layers if layer.attention is not None),
                routers=routers,
            )
        extra = extra_masks is not None
        return Logits(
            mask_logits=tuple(layer.mask_logits[:, :queries] for layer in kept),
            class_logits=tuple(layer.class_logits[:, :queries] for layer in kept),
            class_embeddings=last.embeddings[:, :queries],
            out_of_vocabulary_logits=out_logits,
            valid_masks=valid,
            pixel_embeddings=embedding if pixel_embeddings else None,
            word_rows=self.vas.word_rows(text) if pixel_embeddings and self.vas is not None else None,
            extra_mask_logits=tuple(layer.mask_logits[:, queries:] for layer in kept) if extra else (),
            extra_class_logits=tuple(layer.class_logits[:, queries:] for layer in kept) if extra else (),
            intermediates=inside,
        )

    def select(
        self, aggregated: Tensor, text: Tensor, embedding: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """VAS: F_vs, the pixel embeddings E, the attention maximum and the weights; F_agg alone without VAS."""
        if self.vas is None:
            return aggregated, None, None, None
        if embedding is None:
            embedding = self.vas.embed(aggregated)
        attention = self.vas.attention_maximum(embedding, text)
        weights = self.vas.weights(attention)
        return self.vas.select(aggregated, weights), embedding, attention, weights

    @torch.no_grad()
    def out_of_vocabulary_logits(
        self, features: ImageFeatures, mask_logits: Tensor, text: Tensor, class_index: Tensor, classes: int
    ) -> tuple[Tensor, Tensor]:
        """The frozen tower's class logits of every mask (B, Q, classes), and which masks it can judge (B, Q)."""
        if isinstance(self.feature_extractor, ClipResNet):
            embedded = self.feature_extractor.embed_masks(features.dense, mask_logits, features.frozen_attention)
        else:
            embedded = self.feature_extractor.embed_masks(features.dense, mask_logits)
        logits = classification_logits(
            embedded, text, class_index, self.feature_extractor.logit_scale.to(embedded.dtype), classes
        )
        if not self.config.ensemble_on_valid_masks:
            return logits, torch.ones(mask_logits.shape[:2], dtype=torch.bool, device=mask_logits.device)
        return logits, (resize_masks(mask_logits, features.dense.shape[-2:]) > 0).flatten(2).any(-1)
