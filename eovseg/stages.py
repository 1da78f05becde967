"""The values passed between a predictor's three steps: an encoded photo, a decoded one, and the raw output."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eovseg.composition.geometry import MaskGeometry
from eovseg.composition.tiles import TiledMasks
from eovseg.model.values import ImageFeatures, Intermediates, Logits
from eovseg.vocabulary import Vocabulary


@dataclass(eq=False, repr=False)
class ImageState:
    """An encoded photo: the original photo (H, W, 3) uint8 and its features."""

    image: np.ndarray
    features: ImageFeatures
    name: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"ImageState({self.name or 'photo'}, {width} x {height})"


@dataclass(eq=False, repr=False)
class Decoded:
    """A decoded photo: logits of every query for every class of the vocabulary."""

    state: ImageState
    vocabulary: Vocabulary
    logits: Logits
    text_seconds: float = 0.0
    seconds: float = 0.0

    def __repr__(self) -> str:
        return f"Decoded({self.state!r}, {len(self.vocabulary)} classes)"

    def __getstate__(self) -> dict[str, Any]:
        # Copies compute `masks` again, because they contain a lock, which cannot be copied or pickled.
        return {name: value for name, value in self.__dict__.items() if name != "masks"}

    @property
    def intermediates(self) -> Intermediates | None:
        """Intermediate values if requested with `decode(..., intermediates=True)`, else None."""
        return self.logits.intermediates

    @cached_property
    def masks(self) -> TiledMasks:
        """The final masks at the photo's original size, computed once for all results."""
        masks, features = self.logits.mask_logits[-1][0], self.state.features
        height, width = self.state.image.shape[:2]
        geometry = MaskGeometry(features.padded_size, features.image_size, (height, width))
        return TiledMasks(masks.to(torch.promote_types(masks.dtype, torch.float32)), geometry)


@dataclass(eq=False, repr=False)
class RawOutput:
    """The raw network output for one photo: Q queries, K classes, void last, h and w at stride 4, padded."""

    mask_logits: tuple[Tensor, ...]  # per layer: (Q, h, w), last = final
    class_logits: tuple[Tensor, ...]  # per layer: (Q, K+1)
    out_of_vocabulary_logits: Tensor  # (Q, K+1)
    class_log_probabilities: Tensor  # (Q, K+1)
    valid_masks: Tensor  # (Q,) bool

    def __repr__(self) -> str:
        queries, classes = self.class_log_probabilities.shape
        return f"RawOutput({queries} queries, {classes - 1} classes, {len(self.mask_logits)} layers)"
