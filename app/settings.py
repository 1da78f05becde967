"""The settings that a visitor can change without running the network: fields of `eovseg.Settings` from a browser."""

from collections.abc import Mapping
from typing import Any, get_args

from eovseg.choices import Task
from eovseg.errors import ConfigError
from eovseg.model.config import Ensemble, ModelConfig
from eovseg.settings import Settings
from eovseg.typed_settings import shown

TASKS: tuple[str, ...] = get_args(Task)
ENSEMBLES: tuple[str, ...] = get_args(Ensemble)
SHARES = ("alpha", "beta", "score_threshold", "overlap_threshold", "void_threshold")
NAMES = ("task", "ensemble", *SHARES, "edges")


def read_settings(values: object) -> Settings:
    """Settings from the values of a browser or a URL, in which numbers and booleans may be text.

    Unknown names are ignored; None and "" stand for the model's own value. Raises `ConfigError` for invalid values.
    """
    given = values if isinstance(values, Mapping) else {}
    kept = {name: given[name] for name in NAMES if given.get(name) is not None and given[name] != ""}
    for name in kept.keys() & set(SHARES):
        kept[name] = _number(name, kept[name])
    if "edges" in kept:
        kept["edges"] = {"true": True, "false": False}.get(str(kept["edges"]).lower(), kept["edges"])
    return Settings(**kept)


def defaults(config: ModelConfig) -> dict[str, Any]:
    """The model's own values by name."""
    return {"task": TASKS[0]} | {name: getattr(config, name) for name in NAMES[1:]}


def _number(name: str, value: object) -> object:
    """Converts text to a number; `Settings` checks its range."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        raise ConfigError(f"{name} must be a number from 0 to 1, not {shown(value)}.") from None
