"""Settings of a result, shared by predictor, evaluation, video, page and commands."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypedDict

from eovseg.choices import Task
from eovseg.errors import ConfigError
from eovseg.model.config import SHARES, Composition, Ensemble, ModelConfig, check_calibration
from eovseg.typed_settings import check_words, checked_fraction, shown, suggest_misspelt_names

Calibration = tuple[float, float] | Literal[False] | None  # slope and bias, none, or the model's own


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a result. Changing them does not rerun the network; None uses the model's own value.

    `alpha` and `beta` are the weights of the out-of-vocabulary score for seen and unseen classes in the `ensemble`
    ("geometric" or "arithmetic"). Kernels with a score below `score_threshold` or a void probability above
    `void_threshold` are dropped; XS halves the former for large masks. The others apply to panoptic results only:
    kernels are dropped if the visible fraction of their mask is less than `overlap_threshold`; `composition` selects a
    rule of eovseg/composition/panoptic.py, and `mask_threshold` and `pixel_threshold` belong to "best-first"; `edges`
    aligns masks with the photo's edges; `calibration`, a positive slope and a bias, turns scores into probabilities
    (`eovseg.composer.shown_score`), and False disables it. Thresholds apply to the uncalibrated score.
    All numbers except those of `calibration` are in 0..1. Raises `ConfigError` for invalid values.
    """

    task: Task = "panoptic"
    alpha: float | None = None
    beta: float | None = None
    ensemble: Ensemble | None = None
    score_threshold: float | None = None
    overlap_threshold: float | None = None
    void_threshold: float | None = None
    composition: Composition | None = None
    mask_threshold: float | None = None
    pixel_threshold: float | None = None
    edges: bool | None = None
    calibration: Calibration = None

    def __post_init__(self) -> None:
        check_words(self)
        for name in SHARES:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_fraction(name, value))
        if self.edges is not None and not isinstance(self.edges, bool):
            raise ConfigError(f"edges={shown(self.edges)} is not allowed; choose True or False.")
        pair = tuple(self.calibration) if isinstance(self.calibration, list) else self.calibration
        if pair is not None and pair is not False:
            check_calibration(pair, "False for uncalibrated scores")
        object.__setattr__(self, "calibration", pair)

    @classmethod
    def of(cls, config: ModelConfig) -> "Settings":
        """A model's own settings."""
        return cls(**{name: getattr(config, name) for name in cls().model_values()})

    @classmethod
    def chosen(cls, settings: "Settings | None", /, **named: Any) -> "Settings":
        """`settings`, overridden by the values of `named` that are not None."""
        return replace(settings or cls(), **{name: value for name, value in named.items() if value is not None})

    def applied(self, config: ModelConfig) -> ModelConfig:
        """A model's configuration, overridden by the values that are not None."""
        values = {name: value for name, value in self.model_values().items() if value is not None}
        return replace(config, **values | ({"calibration": None} if self.calibration is False else {}))

    def completed(self, config: ModelConfig) -> "Settings":
        """These settings with None replaced by the model's own values."""
        return replace(Settings.of(config), **self.given())

    def given(self) -> dict[str, Any]:
        """The values that differ from the defaults, by name."""
        return {field.name: v for field in fields(self) if (v := getattr(self, field.name)) != field.default}

    def model_values(self) -> dict[str, Any]:
        """The values that `ModelConfig` also has: all except the task."""
        values = asdict(self)
        del values["task"]
        return values


Settings.__init__ = suggest_misspelt_names(Settings.__init__)  # type: ignore[method-assign]


class SettingsArguments(TypedDict, total=False):
    """The fields of `Settings` as arguments of a function, for `typing.Unpack`."""

    task: Task | None
    alpha: float | None
    beta: float | None
    ensemble: Ensemble | None
    score_threshold: float | None
    overlap_threshold: float | None
    void_threshold: float | None
    composition: Composition | None
    mask_threshold: float | None
    pixel_threshold: float | None
    edges: bool | None
    calibration: Calibration
    settings: Settings | None
