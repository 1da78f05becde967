"""A photo's logits with its truth, and the settings that turn logits into segments without the network."""

from dataclasses import dataclass, fields, replace

import torch

from eovseg.evaluation.categories import Truth
from eovseg.model.config import Composition, Ensemble, ModelConfig
from eovseg.predictor import Calibration, Decoded


@dataclass(frozen=True)
class Settings:
    """How the network's scores become segments; none of these needs the network to run again. Numbers lie in 0..1."""

    alpha: float
    beta: float
    ensemble: Ensemble
    score_threshold: float
    overlap_threshold: float
    void_threshold: float | None
    composition: Composition = "released"
    mask_threshold: float = 0.5
    pixel_threshold: float = 0.5
    edges: bool = False
    calibration: Calibration = None

    @classmethod
    def of(cls, config: ModelConfig) -> "Settings":
        """The defaults of a model."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})


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
