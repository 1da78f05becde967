"""What a visitor can set without running the network: some fields of `eovseg.Settings`, as a browser sends them."""

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
    """Settings from what a browser or an address sent, where numbers and switches may be text.

    Unknown names are ignored; None and "" keep the model's own. Raises `ConfigError` for what is not allowed.
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
    """A number that came as text; `Settings` judges it."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        raise ConfigError(f"{name} is a number from 0 to 1, not {shown(value)}.") from None
