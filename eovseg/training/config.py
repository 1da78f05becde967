"""Everything that defines a training run, in one dataclass; the defaults are the paper's (released configs)."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from eovseg.errors import ConfigError


@dataclass(frozen=True)
class LossConfig:
    """Weights and sampling of the losses; the matcher uses the same three weights."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    points: int = 12_544
    oversample: float = 3.0
    importance: float = 0.75
    # Training aids that the paper does not have; all off by default, none of them changes inference.
    dense_weight: float = 0.0  # cross-entropy of VAS's word similarity at labelled pixels
    dense_pixels: int = 1_024  # per photo
    dense_balanced: bool = True  # pixels of rare classes are drawn more often
    dense_reduction: Literal["max", "logsumexp"] = "max"  # over the synonyms of a class
    pilots: int = 0  # extra queries that start from noised ground-truth masks (Zhang et al. 2023)
    pilot_weight: float = 1.0
    repeats: tuple[int, ...] = (1, 1, 1)  # times that each target is matched, per decoder layer (Jia et al. 2023)


@dataclass(frozen=True)
class TrainConfig:
    """One training run; saved as JSON in its checkpoints."""

    variant: str = "l"
    vas: bool | None = None  # None: as the variant has it
    fusion: str | None = None
    data: tuple[str, ...] = ()
    steps: int = 200_000
    batch: int = 16
    accumulate: int = 1  # micro-batches of `batch` photos per optimiser step
    crop: int = 1_024
    seed: int = 0
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = (163_889, 187_546)
    warmup: int = 10
    warmup_factor: float = 1.0  # 1.0: the released warm-up is none
    final_factor: float = 0.01  # cosine only
    clip: float = 0.01
    clip_per: Literal["model", "tensor"] = "model"  # whose gradient norm is clipped
    ema: float = 0.0  # 0: off
    bf16: bool = True  # only where the machine is faster with it
    channels_last: bool = False
    checkpoint_every: int = 5_000
    keep: int = 3
    evaluate_every: int = 5_000
    log_every: int = 10
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "crop", "checkpoint_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a whole number of at least 1.")
        if self.schedule not in ("step", "cosine"):
            raise ConfigError(f"schedule is {self.schedule!r}; choose 'step' or 'cosine'.")
        if self.clip_per not in ("model", "tensor"):
            raise ConfigError(f"clip_per is {self.clip_per!r}; choose 'model' or 'tensor'.")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}; give a decay of 0 (off) up to, but not including, 1.")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; give a number above 0.")
        if self.loss.dense_reduction not in ("max", "logsumexp"):
            raise ConfigError(f"dense_reduction is {self.loss.dense_reduction!r}; choose 'max' or 'logsumexp'.")

    def to_json(self) -> str:
        """All settings as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        """The settings that `to_json` wrote. Raises `ConfigError` for unknown names."""
        values = json.loads(text)
        try:
            loss = LossConfig(**_with_tuples(values.pop("loss", {})))
            return cls(loss=loss, **_with_tuples(values))
        except TypeError as error:
            raise ConfigError(f"The training settings do not fit this version: {error}.") from error


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def xs_config(**changes: Any) -> TrainConfig:
    """The recipe of XS (two CPU cores, a few thousand partly labelled photos); `changes` replace single settings."""
    loss = LossConfig(points=768, dense_weight=8.0, pilots=12, pilot_weight=0.3, repeats=(2, 1, 1))
    recipe: dict[str, Any] = {
        "variant": "xs", "steps": 2_000, "batch": 8, "crop": 256, "learning_rate": 8e-4, "schedule": "cosine",
        "warmup": 200, "warmup_factor": 0.01, "clip": 1.0, "clip_per": "tensor", "ema": 0.998, "channels_last": True,
        "checkpoint_every": 100, "evaluate_every": 1_000, "loss": loss,
    }  # fmt: skip
    return TrainConfig(**{**recipe, **changes})
