"""The values passed between the parts of the network, with the names of Fig. 4 and their shapes.

B photos, C channels, Q object kernels, D embedding dimensions, N words, K classes, the last two without void; H and W
are the size of the padded photo, h and w that at stride 4.
"""

from dataclasses import dataclass, field

from torch import Tensor

from eovseg.model.regression import MaskRegression


@dataclass
class TowerFeatures:
    """Levels res2..res5 at strides 4, 8, 16, 32 and `dense`, what masks pool: the last map (B, C_d, H/32, W/32).

    With `joint_maps` "fine", `dense` has stride 16 and also finer features.
    """

    levels: tuple[Tensor, Tensor, Tensor, Tensor]
    dense: Tensor


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
    """Everything that depends only on the photo; reuse it to try other words."""

    aggregated: Tensor  # F_agg (B, C, h, w)
    levels: tuple[Tensor, ...]  # p5, p4, p3 if the config's scales are "multi", else empty
    spatial: Tensor | None  # S (B, C_s, h, w); EAF: the raw map (B, C_s, H/16, W/16); None without a spatial extractor
    dense: Tensor  # clip_vis_dense (B, C_d, H/32, W/32), see `TowerFeatures`
    image_size: tuple[int, int]  # height and width before padding
    padded_size: tuple[int, int]


@dataclass
class Selection:
    """The output of VAS; the last two are None without VAS."""

    selected: Tensor  # F_vs (B, C, h, w)
    attention: Tensor | None = None  # (B, heads, h, w), max over words of the softmax
    weights: Tensor | None = None  # (B, heads, h, w), scale and offset applied


@dataclass
class Scene:
    """The input of every decoder layer: one batch of photos and the words."""

    features: Tensor  # F_vs (B, C, h, w); EAF: merged with the spatial map
    levels: tuple[Tensor, ...]  # p5, p4, p3 of the multi-scale variants, else empty
    spatial: Tensor | None  # S (B, C_s, h, w); None without an extractor and with EAF
    text: Tensor  # T (N + 1, D), void row last
    class_index: Tensor  # (N + 1,), class of each row
    classes: int  # K + 1
    regression: MaskRegression | None = None  # on F_agg, if configured


@dataclass
class RouterWeights:
    """The two router outputs of TDEE in one layer, one weight per channel: each (B, Q, C), in (0, 1)."""

    mask_weight: Tensor  # alpha_m
    spatial_weight: Tensor  # alpha_s


@dataclass
class LayerOutput:
    """The output of one decoder layer."""

    kernels: Tensor  # object kernels (B, Q, C)
    mask_logits: Tensor  # (B, Q, h, w)
    class_logits: Tensor  # (B, Q, K+1)
    class_embeddings: Tensor  # (B, Q, D), not normalised
    attention: Tensor | None = None  # self-attention (B, Q, Q), mean over heads
    routers: RouterWeights | None = None  # of TDEE


@dataclass
class Intermediates:
    """Intermediate values for inspection."""

    aggregated: Tensor  # F_agg (B, C, h, w)
    vas_weights: Tensor | None  # as in `Selection`
    vas_attention: Tensor | None
    selected: Tensor  # the decoder's input, as `Scene.features`
    initial_mask_logits: Tensor  # (B, Q, h, w)
    object_kernels: tuple[Tensor, ...]  # per layer: (B, Q, C)
    self_attention: tuple[Tensor, ...]  # per layer: (B, Q, Q), mean over heads, rows sum to 1
    routers: tuple[RouterWeights, ...]  # per layer; empty without TDEE


@dataclass
class Logits:
    """Masks and raw scores of all classes, void last."""

    mask_logits: tuple[Tensor, ...]  # per layer: (B, Q, h, w) at stride 4 of the padded photo, last = final
    class_logits: tuple[Tensor, ...]  # per layer: (B, Q, K+1)
    class_embeddings: Tensor  # (B, Q, D), last layer, not normalised
    out_of_vocabulary_logits: Tensor  # (B, Q, K+1) of the frozen image encoder; the void column is unused
    valid_masks: Tensor  # (B, Q) bool: whether the out-of-vocabulary score of the mask is used
    intermediates: Intermediates | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SegmentRecord:
    """One segment: its id in the map (from 1), class index, thing or stuff, and the query whose score it reports."""

    id: int
    class_id: int
    is_thing: bool
    query: int
    score: float
