"""What a visitor can set without running the network: task, ensemble and thresholds, checked as they arrive."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from eovseg.choices import Task
from eovseg.errors import ConfigError
from eovseg.model.config import Ensemble, ModelConfig

TASKS: tuple[str, ...] = get_args(Task)
ENSEMBLES: tuple[str, ...] = get_args(Ensemble)
SHARES = ("alpha", "beta", "score_threshold", "overlap_threshold", "void_threshold")


@dataclass(frozen=True)
class Settings:
    """Arguments of `Predictor.compose`; None keeps the model's own value."""

    task: Task | None = None
    alpha: float | None = None
    beta: float | None = None
    ensemble: Ensemble | None = None
    score_threshold: float | None = None
    overlap_threshold: float | None = None
    void_threshold: float | None = None
    edges: bool | None = None

    @classmethod
    def read(cls, values: object) -> "Settings":
        """Settings from what a browser sent: unknown names are ignored, None and "" keep the default.

        Raises `ConfigError` for a value of another type or outside what is allowed.
        """
        given = values if isinstance(values, Mapping) else {}
        known = {field.name: given.get(field.name) for field in fields(cls)}
        kept = {name: value for name, value in known.items() if value is not None and value != ""}
        for name, allowed in (("task", TASKS), ("ensemble", ENSEMBLES)):
            if name in kept and kept[name] not in allowed:
                raise ConfigError(
                    f"{name}={str(kept[name])[:40]!r} is not allowed; choose one of {', '.join(allowed)}."
                )
        for name in SHARES:
            if name in kept:
                kept[name] = _share(name, kept[name])
        if "edges" in kept:
            kept["edges"] = _switch("edges", kept["edges"])
        if kept.get("task") == TASKS[0]:
            del kept["task"]
        return cls(**kept)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `compose`, without those that keep the model's own value."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def defaults(config: ModelConfig) -> dict[str, Any]:
    """The model's own values by the names of `Settings`."""
    names = ("ensemble", *SHARES, "edges")
    return {"task": TASKS[0]} | {name: getattr(config, name) for name in names}


def _switch(name: str, value: object) -> bool:
    """A browser sends true or false, an address their text."""
    known = {"true": True, "false": False}
    found = known.get(str(value).lower())
    if found is None:
        raise ConfigError(f"{name} is true or false, not {str(value)[:40]!r}.")
    return found


def _share(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigError(f"{name} is a number from 0 to 1, not {type(value).__name__}.")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond what a float can hold
        raise ConfigError(f"{name} is outside 0 to 1.") from None
    except ValueError:
        raise ConfigError(f"{name} is a number from 0 to 1, not {str(value)[:40]!r}.") from None
    if not 0 <= number <= 1:
        raise ConfigError(f"{name}={number:g} is outside 0 to 1.")
    return number
