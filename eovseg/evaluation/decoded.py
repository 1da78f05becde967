"""A photo's logits with its truth: all that another setting needs."""

from dataclasses import dataclass, replace

import torch

from eovseg.evaluation.categories import Truth
from eovseg.predictor import Decoded


@dataclass(frozen=True)
class DecodedPhoto:
    """A photo's logits and its truth: all that another setting needs."""

    decoded: Decoded
    truth: Truth

    def logits_only(self) -> "DecodedPhoto":
        """The same without features and earlier layers, which are most of the memory and which settings do not need."""
        logits, state = self.decoded.logits, self.decoded.state
        nothing = torch.empty(0)
        features = replace(state.features, aggregated=nothing, levels=(), spatial=None, dense=nothing)
        last = replace(logits, mask_logits=logits.mask_logits[-1:], class_logits=logits.class_logits[-1:])
        return DecodedPhoto(replace(self.decoded, logits=last, state=replace(state, features=features)), self.truth)
