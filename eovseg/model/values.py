"""What the parts of the network hand to each other: the values of Fig. 4 by their names, and the shapes they have.

B photos, C channels, Q object kernels, D numbers for a word, K classes; h and w are those of the padded photo at
stride 4.
"""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class TowerFeatures:
    """Levels res2..res5 at strides 4, 8, 16, 32 and the dense last map (B, C_d, H/32, W/32)."""

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
    """All that depends on the photo alone; keep it to try other words."""

    aggregated: Tensor  # F_agg (B, C, h, w)
    levels: tuple[Tensor, ...]  # p5, p4, p3, only when the config's scales are "multi"
    spatial: Tensor | None  # S (B, C_s, h, w); EAF: the raw map at H/16; None without a spatial extractor
    dense: Tensor  # clip_vis_dense (B, C_d, H/32, W/32)
    image_size: tuple[int, int]  # H, W before padding
    padded_size: tuple[int, int]


@dataclass
class Selection:
    """What VAS makes of F_agg; the last two are None without VAS."""

    selected: Tensor  # F_vs (B, C, h, w)
    attention: Tensor | None = None  # (B, heads, h, w), max over words of the softmax
    weights: Tensor | None = None  # (B, heads, h, w), scale and offset applied


@dataclass
class Scene:
    """What every layer of the decoder reads: one batch of photos and the words."""

    features: Tensor  # F_vs (B, C, h, w)
    levels: tuple[Tensor, ...]  # p5, p4, p3 of the multi-scale variants, else empty
    spatial: Tensor | None  # S (B, C_s, h, w)
    text: Tensor  # T (N, D), void row last
    class_index: Tensor  # (N,), class of each row
    classes: int  # K + 1


@dataclass
class RouterWeights:
    """TDEE's two router outputs of one layer, one weight a channel: each (B, Q, C), in (0, 1)."""

    mask_weight: Tensor  # alpha_m
    spatial_weight: Tensor  # alpha_s


@dataclass
class LayerOutput:
    """What one decoder layer gives."""

    kernels: Tensor  # object kernels (B, Q, C)
    mask_logits: Tensor  # (B, Q, h, w)
    class_logits: Tensor  # (B, Q, K+1)
    class_embeddings: Tensor  # (B, Q, D), not normalised
    attention: Tensor | None = None  # self-attention (B, Q, Q), mean over heads
    routers: RouterWeights | None = None  # of TDEE


@dataclass
class Intermediates:
    """What happens inside, for people who want to look."""

    aggregated: Tensor  # F_agg (B, C, h, w)
    vas_weights: Tensor | None  # as in `Selection`
    vas_attention: Tensor | None
    selected: Tensor  # F_vs (B, C, h, w)
    initial_mask_logits: Tensor  # (B, Q, h, w)
    object_kernels: tuple[Tensor, ...]  # a layer: (B, Q, C)
    self_attention: tuple[Tensor, ...]  # a layer: (B, Q, Q), mean over heads, rows sum to 1
    routers: tuple[RouterWeights, ...]  # a layer; empty without TDEE


@dataclass
class Logits:
    """Raw scores of all words, void last."""

    mask_logits: tuple[Tensor, ...]  # a layer: (B, Q, h, w) at stride 4 of the padded photo, last = final
    class_logits: tuple[Tensor, ...]  # a layer: (B, Q, K+1)
    class_embeddings: Tensor  # (B, Q, D), last layer, not normalised
    out_of_vocabulary_logits: Tensor  # (B, Q, K+1), the frozen tower's; its void column is not used
    valid_masks: Tensor  # (B, Q) bool: the mask weighs in the out-of-vocabulary score
    intermediates: Intermediates | None = field(default=None, repr=False)


@dataclass(frozen=True)
class SegmentRecord:
    """One segment: its id in the map (from 1), class index, whether a thing, and the query whose scores it reports."""

    id: int
    class_id: int
    is_thing: bool
    query: int
    score: float
