"""Whether a value that a file or a caller brings has the type that a dataclass of settings declares."""

from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from eovseg.errors import ConfigError

_LARGEST = 1e300  # beyond it, whole numbers are no floats


def fits(value: object, hint: Any) -> bool:
    """Whether `value` is one of type `hint`: bool, int, float, str, None, literals, unions and tuples of them.

    Lists count as tuples, as JSON has no others, and whole numbers as floats; numbers are finite.
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
    """A value as an error shows it: at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def check_word(name: str, value: object, hint: Any) -> None:
    """Raise `ConfigError` where `value` is none of the words of `hint`, a `Literal` or an optional one.

    Hints without words allow every value.
    """
    for part in (hint, *get_args(hint)):
        words = get_args(part) if get_origin(part) is Literal else ()
        if words and isinstance(words[0], str) and not fits(value, hint):
            raise ConfigError(f"{name}={shown(value)} is not allowed; choose one of {', '.join(words)}.")


def check_words(settings: Any) -> None:
    """`check_word` for every field of a dataclass."""
    for name, hint in get_type_hints(type(settings)).items():
        check_word(name, getattr(settings, name), hint)


def share(name: str, value: Any) -> float:
    """`value` as a float; raises `ConfigError` where it is no number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real) or value < 0 or not value <= 1:
        raise ConfigError(f"{name}={shown(value)} is outside 0 to 1.")
    return float(value)
