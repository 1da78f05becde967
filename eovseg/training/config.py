"""All settings of a training run in one dataclass; the defaults are the paper's (released configs)."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_type_hints

from eovseg.choices import OLD_PRECISIONS, Precision
from eovseg.data.batches import BatchSettings
from eovseg.errors import ConfigError
from eovseg.typed_settings import check_words, fits, shown

# Removed settings in older recipes and checkpoints, with the only values they ever had.
_RETIRED = {"dense_balanced": True, "dense_reduction": "max"}
_RENAMED = {"unknown_is_background": "unlabelled_is_negative"}


@dataclass(frozen=True)
class LossConfig:
    """Weights and sampling of the losses; the matcher uses the same three weights."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    points: int = 12_544  # 0: no sampling, masks are compared at every cell at stride 4
    oversample: float = 3.0
    importance: float = 0.75
    # Training aids that are not in the paper; off by default, without effect on inference.
    dense_weight: float = 0.0  # cross-entropy of VAS's word similarity at labelled pixels
    dense_pixels: int = 1_024  # per photo
    pilots: int = 0  # extra queries that start from noised ground-truth masks (Zhang et al. 2023)
    pilot_weight: float = 1.0
    instance_weight: float = 0.0  # contrasts the pixels of different segments in F_agg
    instance_pixels: int = 32  # per segment
    instance_temperature: float = 0.1  # of the cosines
    repeats: tuple[int, ...] = (1, 1, 1)  # matches per target in each decoder layer (Jia et al. 2023)


@dataclass(frozen=True)
class TrainConfig:
    """One training run, saved as JSON in its folder and checkpoints. `batch` and `crop` override those of `views`."""

    variant: str = "l"
    vas: bool | None = None  # None: that of the variant
    fusion: str | None = None
    model: tuple[str, ...] = ()  # further network settings, NAME=VALUE as parsed by `setting`
    openvino: bool = True  # XS on CPUs: run the frozen image encoder with OpenVINO if installed; equal up to rounding
    even_features: int = 0  # number of batches for normalising F_agg at the start
    hold: tuple[str, ...] = ()  # frozen parts (aggregator, vas, …)
    short_side: int | None = None  # of a photo at inference, in pixels; None: that of the variant
    data: tuple[str, ...] = ()
    dataset: str | None = None  # a name of `eovseg data list`; None: detected from the folder
    split: str | None = None
    vocabulary: str = ""  # training classes as preset, file or words; "": those of the data
    words: tuple[str, ...] = ()  # all names used in training, recorded by the command for the export
    steps: int = 200_000
    batch: int = 16
    accumulate: int = 1  # micro-batches of `batch` photos per optimiser step
    crop: int = 1_024
    seed: int = 0
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    vas_decay: bool = True  # False: no decay of VAS's scale and offset towards 0
    schedule: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[int, ...] | None = None  # None: scaled from the paper's 163,889 and 187,546 of 200,000 steps
    warmup: int = 10
    warmup_factor: float = 1.0  # 1.0: no warm-up, as released
    final_factor: float = 0.01  # cosine and constant
    decay: int = 0  # constant only: number of final steps with falling rate
    clip: float = 0.01
    clip_per: Literal["model", "tensor"] = "model"  # clip the gradient norm of the model or of each tensor
    ema: float = 0.0  # 0: off
    precision: Precision = "float32"  # bfloat16: where the machine has it; float16: CUDA only, with a gradient scaler
    channels_last: bool = False
    checkpoint_every: int = 5_000
    keep: int = 3
    evaluate_every: int = 5_000
    pictures_every: int = 1_000
    log_every: int = 10
    loss: LossConfig = field(default_factory=LossConfig)
    views: BatchSettings = field(default_factory=BatchSettings.released)

    def __post_init__(self) -> None:
        positive = ("steps", "batch", "accumulate", "crop", "checkpoint_every", "keep", "evaluate_every")
        for name in (*positive, "pictures_every", "log_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give an integer of at least 1.")
        for settings in (self, self.loss):
            for entry in dataclasses.fields(settings):
                value = getattr(settings, entry.name)
                if isinstance(value, int | float) and not value >= 0:
                    raise ConfigError(f"{entry.name} is {value}; give a number of at least 0.")
        if self.crop < 32:
            raise ConfigError(f"crop is {self.crop}; give at least 32 pixels.")
        if self.short_side is not None and self.short_side < 32:
            raise ConfigError(f"short_side is {self.short_side}; give at least 32 pixels.")
        check_words(self)
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}; give a decay from 0 (off) to below 1.")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; give a positive number.")
        object.__setattr__(self, "views", replace(self.views, batch_size=self.batch, crop_size=self.crop))

    def to_json(self) -> str:
        """All settings as JSON text."""
        values = dataclasses.asdict(self)
        for name in ("batch_size", "crop_size"):  # same as `batch` and `crop`
            del values["views"][name]
        return json.dumps(values, indent=1)

    @classmethod
    def from_json(cls, text: str, variant: str = "l") -> "TrainConfig":
        """Parses settings written by `to_json`; missing ones default to the recipe of its variant, or of `variant`.

        Raises `ConfigError` for other text, unknown names and invalid values.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"The training settings are not valid JSON ({error}).") from error
        if not isinstance(values, dict):
            raise ConfigError("The training settings must be a JSON object.")
        switches = {name: values.pop(name) for name in OLD_PRECISIONS if isinstance(values.get(name), bool)}
        if switches.get("bf16") is not None or any(switches.values()):
            on = [OLD_PRECISIONS[name] for name, value in switches.items() if value]
            values = {"precision": on[0] if on else "float32"} | values
        return changed(recipe(str(values.get("variant", variant))), values)


def changed(settings: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of settings with some values replaced; dictionaries are merged into nested dataclasses.

    Raises `ConfigError` for unknown names and values of the wrong type.
    """
    kept = {name: value for name, value in values.items() if name not in _RETIRED or value != _RETIRED[name]}
    values = {_RENAMED.get(name, name): value for name, value in kept.items()}
    names = {entry.name for entry in dataclasses.fields(settings)}
    if unknown := sorted(set(values) - names):
        raise ConfigError(f"Unknown training setting {unknown[0][:60]}; choose from {', '.join(sorted(names))}.")
    new: dict[str, Any] = {}
    hints = get_type_hints(type(settings))
    for name, value in values.items():
        present = getattr(settings, name)
        if dataclasses.is_dataclass(present):
            if not isinstance(value, Mapping):
                raise ConfigError(f"The training setting {name} is {shown(value)}; give a JSON object.")
            new[name] = changed(present, value)
        elif fits(value, hints[name]):
            new[name] = tuple(value) if isinstance(value, list) else value
        else:
            raise ConfigError(f"The training setting {name} is {shown(value)}; give a value like {present!r}.")
    try:
        return replace(settings, **new)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The training settings have a value of the wrong type ({error}).") from error


def differences(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> str:
    """The settings that differ, such as "steps 20 (was 10), loss.pilots 0 (was 12)"; empty if there are none."""
    found = []
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            found.append(differences(before, value, f"{within}{name}."))
        elif value != before:
            shown = (json.dumps(side, ensure_ascii=False) for side in (value, before))
            found.append("{}{} {} (was {})".format(within, name, *shown))
    return ", ".join(filter(None, found))


def recipe(variant: str, **changes: Any) -> TrainConfig:
    """The default recipe of a variant (the paper's for S, M and L), with `changes` to individual settings."""
    return xs_config(**changes) if variant == "xs" else TrainConfig(**{"variant": variant, **changes})


def xs_config(**changes: Any) -> TrainConfig:
    """The recipe of XS, for two CPU cores and a few thousand partly labelled photos, with `changes`."""
    loss = LossConfig(points=0, dense_weight=8.0, pilots=12, pilot_weight=0.3, repeats=(2, 1, 1))
    settings: dict[str, Any] = {
        "variant": "xs", "steps": 2_000, "batch": 8, "crop": 256, "learning_rate": 8e-4, "schedule": "cosine",
        "vas_decay": False, "warmup": 200, "warmup_factor": 0.01, "clip": 1.0, "clip_per": "tensor", "ema": 0.998,
        "precision": "bfloat16", "channels_last": True, "checkpoint_every": 100, "evaluate_every": 1_000,
        "pictures_every": 500, "loss": loss, "views": BatchSettings(keep_absent=(0.7, 1.0)),
    }  # fmt: skip
    return TrainConfig(**{**settings, **changes})


def setting(text: str) -> tuple[str, Any]:
    """Parses a network setting `NAME=VALUE` with a JSON value; raises `ConfigError` for other text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--set {shown(text)} is not NAME=VALUE with a JSON value, e.g. alpha=0.4.") from error
