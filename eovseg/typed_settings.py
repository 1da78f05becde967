"""Whether a value that a file brings has the type that a dataclass of settings declares."""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

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
