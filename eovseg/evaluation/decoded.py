"""A labelled photo with its logits, for evaluating several settings of a result."""

from dataclasses import dataclass, replace

import torch

from eovseg.evaluation.categories import Truth
from eovseg.model.values import ImageFeatures
from eovseg.stages import Decoded


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo's logits and its truth: everything that is needed to evaluate other settings."""

    decoded: Decoded
    truth: Truth

    def logits_only(self) -> "DecodedPhoto":
        """A copy without features and earlier layers, which settings do not need and which use most of the memory."""
        logits, state = self.decoded.logits, self.decoded.state
        nothing, sizes = torch.empty(0), (state.features.image_size, state.features.padded_size)
        features = ImageFeatures(nothing, (), None, nothing, *sizes)
        last = replace(logits, mask_logits=logits.mask_logits[-1:], class_logits=logits.class_logits[-1:])
        return DecodedPhoto(replace(self.decoded, logits=last, state=replace(state, features=features)), self.truth)
