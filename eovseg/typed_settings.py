"""Run-time type checks for dataclasses of settings."""

import difflib
from collections.abc import Callable, Collection
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from eovseg.errors import ConfigError

_LARGEST = 1e300  # larger integers cannot be converted to float
P = ParamSpec("P")
R = TypeVar("R")


def is_integer(value: object) -> bool:
    """Whether `value` is an integer of Python or NumPy."""
    return isinstance(value, Integral)


def fits(value: object, hint: Any) -> bool:
    """Whether `value` has the type `hint`: bool, int, float, str, None, literals, and unions and tuples of them.

    Lists count as tuples, because JSON has no tuples, and integers as floats; numbers must be finite.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if len(parts) == 2 and parts[1] is ...:
            return all(fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(fits, value, parts))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
    return type(value) is (NoneType if hint is None else hint)


def shown(value: object) -> str:
    """A value for an error message, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def check_word(name: str, value: object, hint: Any) -> None:
    """Raises `ConfigError` unless `value` is one of the strings of `hint`, an optional `Literal`.

    Hints without string literals allow any value.
    """
    for part in (hint, *get_args(hint)):
        words = get_args(part) if get_origin(part) is Literal else ()
        if words and isinstance(words[0], str) and not fits(value, hint):
            raise ConfigError(f"{name}={shown(value)} is not allowed; choose one of {', '.join(words)}.")


def check_words(settings: Any) -> None:
    """`check_word` for every field of a dataclass."""
    for name, hint in get_type_hints(type(settings)).items():
        check_word(name, getattr(settings, name), hint)


def checked_fraction(name: str, value: Any) -> float:
    """`value` as a float; raises `ConfigError` unless it is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or value < 0 or not value <= 1:
        raise ConfigError(f"{name}={shown(value)} is outside 0 to 1.")
    return float(value)


def unknown_name(name: str, known: Collection[str]) -> ConfigError:
    """The error for a setting that does not exist, with the most similar names, else all."""
    close = " or ".join(difflib.get_close_matches(name, known, n=5))
    meant = f"did you mean {close}?" if close else f"choose from {', '.join(known)}."
    return ConfigError(f"There is no setting {shown(name)}; {meant}")


def suggest_misspelt_names(call: Callable[P, R]) -> Callable[P, R]:
    """`call`, with a `ConfigError` that suggests the right name where a keyword is misspelt."""
    known = [name for name in signature(call).parameters if name != "self"]

    @wraps(call)
    def checked(*values: P.args, **named: P.kwargs) -> R:
        for name in named:
            if name not in known:
                raise unknown_name(name, known)
        return call(*values, **named)

    return checked
