"""How a network's scores become segments, as one type for predictor, evaluation, video, page and commands."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypedDict

from eovseg.choices import Task
from eovseg.errors import ConfigError
from eovseg.model.config import SHARES, Composition, Ensemble, ModelConfig, check_calibration
from eovseg.typed_settings import check_words, share, shown

Calibration = tuple[float, float] | Literal[False] | None  # slope and bias, none, or the model's own


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a result; none of them needs the network to run again, and None keeps the model's own value.

    `alpha` and `beta` weigh the out-of-vocabulary score of seen and of other words, which `ensemble` ("geometric" or
    "arithmetic") joins to the other one. Kernels that score below `score_threshold` are dropped, and those whose
    probability of "none of these words" exceeds `void_threshold`. Panoptic results alone read the rest: kernels whose
    visible share of the mask is below `overlap_threshold` are dropped; `composition` chooses between the rules of
    eovseg/composition/panoptic.py, `mask_threshold` and `pixel_threshold` belong to "best-first"; with `edges` masks
    follow the photo's edges; `calibration`, a slope above 0 and a bias, shows the segments' scores as shares
    (`eovseg.composer.shown_score`), False leaves them as they are. Thresholds read the score before it.
    All numbers but those of `calibration` lie in 0..1. Raises `ConfigError` for values that are not allowed.
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
                object.__setattr__(self, name, share(name, value))
        if self.edges is not None and not isinstance(self.edges, bool):
            raise ConfigError(f"edges={shown(self.edges)} is not allowed; choose True or False.")
        pair = tuple(self.calibration) if isinstance(self.calibration, list) else self.calibration
        if pair is not None and pair is not False:
            check_calibration(pair, "False for scores as they are")
        object.__setattr__(self, "calibration", pair)

    @classmethod
    def of(cls, config: ModelConfig) -> "Settings":
        """A model's own settings."""
        return cls(**{name: getattr(config, name) for name in cls().model_values()})

    @classmethod
    def chosen(cls, settings: "Settings | None", /, **named: Any) -> "Settings":
        """`settings` with those values of `named` that are not None in the place of its own."""
        return replace(settings or cls(), **{name: value for name, value in named.items() if value is not None})

    def applied(self, config: ModelConfig) -> ModelConfig:
        """A model's configuration with these values in the place of its own; None keeps its own."""
        values = {name: value for name, value in self.model_values().items() if value is not None}
        return replace(config, **values | ({"calibration": None} if self.calibration is False else {}))

    def completed(self, config: ModelConfig) -> "Settings":
        """These settings with the model's own values in the place of None."""
        return replace(Settings.of(config), **self.given())

    def given(self) -> dict[str, Any]:
        """Those values that were chosen, by name: not None, and no panoptic task."""
        return {field.name: v for field in fields(self) if (v := getattr(self, field.name)) != field.default}

    def model_values(self) -> dict[str, Any]:
        """Those values that a `ModelConfig` has too, which are all but the task."""
        values = asdict(self)
        del values["task"]
        return values


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
