"""Values passed between the parts of the fast network, in addition to `eovseg.model.values`."""

from dataclasses import dataclass

from torch import Tensor

from eovseg.fast.regression import FastMaskRegression
from eovseg.model.backbones import FrozenAttention
from eovseg.model.values import ImageFeatures, LayerOutput, Logits


@dataclass
class PreparedFeatures(ImageFeatures):
    """Image features with parts of the word half that do not depend on the vocabulary."""

    pixel_embeddings: Tensor | None = None  # E of VAS (B, D, h, w)
    frozen_attention: FrozenAttention | None = None  # M and S only
    regression: FastMaskRegression | None = None  # XS only


@dataclass(frozen=True)
class RequestedOutputs:
    """Which optional outputs of the decoder are requested."""

    attention: bool = False  # the weights of the self-attention
    every_layer: bool = True  # classes of all layers, not only of the last


@dataclass
class FastLayerOutput(LayerOutput):
    """Adds the sum of F_vs inside the masks; class tensors are empty if no classes were requested."""

    inside: Tensor | None = None  # (B, Q, C)


@dataclass
class FastLogits(Logits):
    """Adds outputs for training and for the evaluation with true masks."""

    pixel_embeddings: Tensor | None = None  # E of VAS (B, D, h, w)
    word_rows: Tensor | None = None  # (N+1, D), void last; their product with E is VAS's similarity, mean over heads
    extra_mask_logits: tuple[Tensor, ...] = ()  # like mask_logits, for the P extra queries
    extra_class_logits: tuple[Tensor, ...] = ()
    extra_class_embeddings: Tensor | None = None  # (B, P, D), last layer, not normalised
