"""The models that a visitor can choose: the one the server was started with, and others whose weights are installed."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eovseg
from app.session import locked
from eovseg.checkpoints import default_checkpoint
from eovseg.choices import Backend, Dtype
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor


@dataclass(frozen=True)
class ModelChoice:
    """One line of the model list; `missing` is the sentence shown beside a model that is not installed."""

    key: str
    title: str
    missing: str = ""


class Models:
    """The models by key. All but the first are loaded when first chosen, with the options of the first, and kept."""

    def __init__(
        self,
        first: Predictor,
        checkpoint: str | Path | None = None,
        dtype: Dtype = "float32",
        backend: Backend = "torch",
    ) -> None:
        variant, self.device = first.config.variant, str(first.device)
        self.first = variant if checkpoint is None else f"{variant}:{Path(checkpoint).name}"
        self._how: dict[str, Any] = {"device": self.device, "dtype": dtype, "backend": backend}
        self._loaded: dict[str, Predictor] = {self.first: first}
        self._lock = threading.Lock()

    def choices(self) -> list[ModelChoice]:
        """All models in the order of the list; those not installed have a sentence that says how to get them."""
        own = ModelChoice(self.first, self.title(self.first))
        others = []
        for variant in ("xs", "s", "m", "l"):
            if variant == self.first:
                others.append(own)
            elif default_checkpoint(variant) is not None:
                others.append(ModelChoice(variant, variant.upper()))
            else:
                others.append(ModelChoice(variant, variant.upper(), _missing(variant)))
        return others if own in others else [own, *others]

    def title(self, key: str) -> str:
        variant, _, name = key.partition(":")
        return f"{variant.upper()} · {name}" if name else variant.upper()

    def get(self, key: str | None) -> Predictor:
        """The model of `key`, loaded if needed; None gives the model that the server was started with.

        Raises `EovsegError` if it is not available or another request takes too long to load one.
        """
        key = key or self.first
        if not isinstance(key, str):
            raise ConfigError(f"model must be text, not {type(key).__name__}.")
        loaded = self._loaded.get(key)
        if loaded is not None:
            return loaded
        with locked(self._lock):
            if key not in self._loaded:
                choice = next((choice for choice in self.choices() if choice.key == key), None)
                if choice is None:
                    raise ConfigError(f'There is no model "{" ".join(key[:40].split())}"; choose one from the list.')
                if choice.missing:
                    raise ConfigError(choice.missing)
                self._loaded[key] = eovseg.load(key, **self._how)
            return self._loaded[key]

    def key_of(self, predictor: Predictor) -> str:
        return next(key for key, loaded in list(self._loaded.items()) if loaded is predictor)

    def parts(self, key: str) -> tuple[str, str | None]:
        """Variant and checkpoint file name of a model, as `eovseg.load` takes them."""
        variant, _, name = key.partition(":")
        return variant, name or None


def _missing(variant: str) -> str:
    return f"eovseg-{variant}.pth is not installed; get it with: eovseg download {variant}"
