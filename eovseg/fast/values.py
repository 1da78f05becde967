"""What the parts of the fast network hand to each other beyond `eovseg.model.values`."""

from dataclasses import dataclass

from torch import Tensor

from eovseg.model.backbones import FrozenAttention
from eovseg.model.values import ImageFeatures, LayerOutput, Logits


@dataclass
class PreparedFeatures(ImageFeatures):
    """With what the word half would else compute again for each vocabulary."""

    pixel_embeddings: Tensor | None = None  # E of VAS (B, D, h, w)
    frozen_attention: FrozenAttention | None = None  # M and S only


@dataclass(frozen=True)
class Wanted:
    """What of the decoder's outputs is read."""

    attention: bool = False  # the self-attention's weights
    every_layer: bool = True  # classes of all layers, not of the last alone


@dataclass
class FastLayerOutput(LayerOutput):
    """With the sum of F_vs inside the masks; class tensors are empty where no classes were wanted."""

    inside: Tensor | None = None  # (B, Q, C)


@dataclass
class FastLogits(Logits):
    """With what training asks for."""

    pixel_embeddings: Tensor | None = None  # E of VAS (B, D, h, w)
    word_rows: Tensor | None = None  # (N+1, D), void last; times E they are VAS's similarities, mean over heads
    extra_mask_logits: tuple[Tensor, ...] = ()  # as mask_logits, for the P extra queries
    extra_class_logits: tuple[Tensor, ...] = ()
    extra_class_embeddings: Tensor | None = None  # (B, P, D), last layer, not normalised
