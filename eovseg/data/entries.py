"""Validated access to the JSON of a data set: every error names the file and the entry."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eovseg.errors import DataError
from eovseg.images import MAX_PIXELS

LARGEST_NUMBER = 2**31 - 1
LARGEST_KEY = 2**63 - 1  # for ids of photos and annotations; some tools use hashes
LARGEST_SEGMENT_ID = 2**24 - 1  # three bytes per PNG pixel
LONGEST_SIDE = 65_535
# For each of COCO's two formats: a key that only its annotations have, the usual file name, and the data set.
_FORMS = {
    "COCO panoptic": ("segments_info", "panoptic.json", "panoptic-folder"),
    "COCO instances": ("category_id", "instances.json", "coco-instances-folder"),
}


class Entry:
    """One JSON object of the file `path`; `kind` and `inside` describe it in errors ("segment 7 of a.png")."""

    __slots__ = ("inside", "kind", "path", "record")

    def __init__(self, path: Path, kind: str, record: Any, inside: str = "") -> None:
        self.path, self.kind, self.inside = path, kind, inside
        if not isinstance(record, Mapping):
            raise DataError(f"{path}: each {kind} must be a JSON object, not {_shown(record)}.")
        self.record: Mapping[str, Any] = record

    def __str__(self) -> str:
        number = self.record.get("id", self.record.get("image_id"))
        named = self.kind if number is None else f"{self.kind} {_shown(number)}"
        return f"{self.path}: {named}" + (f" of {self.inside}" if self.inside else "")

    def get(self, key: str) -> Any:
        """The raw value, or None."""
        return self.record.get(key)

    def integer(self, key: str, minimum: int = 0, maximum: int = LARGEST_NUMBER) -> int:
        """An integer from `minimum` to `maximum`; 5.0 and "5" are read as 5. Raises `DataError` for anything else."""
        return self._integer(key, self._given(key), minimum, maximum)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of integers, empty if the key is missing."""
        values = self.record.get(key)
        if values is None:
            return ()
        if not isinstance(values, list):
            raise DataError(f"{self} has {key} {_shown(values)}; it must be a list of integers.")
        return tuple(self._integer(key, value, 0, LARGEST_NUMBER) for value in values)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """A boolean given as 1 or 0, true or false; if the key is missing, `default`, or an error if that is None."""
        value = self.record.get(key)
        if value is None and default is not None:
            return default
        value = self._given(key)
        if isinstance(value, bool | int | float) and value in (0, 1):
            return bool(value)
        raise DataError(f"{self} has {key} {_shown(value)}; it must be 1 or 0.")

    def text(self, key: str, maximum: int = 300) -> str:
        """Non-blank text of at most `maximum` characters."""
        value = self._given(key)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{self} has {key} {_shown(value)}; it must be non-empty text.")
        if len(value) > maximum:
            raise DataError(f"{self} has {key} {_shown(value)}; at most {maximum} characters are allowed.")
        return value

    def key(self, key: str) -> str:
        """An image's identifier, an integer or text, as text."""
        value = self._given(key)
        return self.text(key) if isinstance(value, str) else str(self.integer(key, -LARGEST_KEY, LARGEST_KEY))

    def size(self) -> tuple[int, int]:
        """`width` and `height` of a photo in pixels."""
        width, height = self.integer("width", 1, LONGEST_SIDE), self.integer("height", 1, LONGEST_SIDE)
        if width * height > MAX_PIXELS:
            raise DataError(f"{self} has {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are allowed.")
        return width, height

    def coco_id(self) -> int | None:
        """The photo's `coco_id`, or None if it is not from COCO."""
        return None if self.get("coco_id") is None else self.integer("coco_id")

    def entries(self, key: str, kind: str, inside: str = "") -> list["Entry"]:
        """A list of objects, called `kind` in errors."""
        values = self._given(key)
        if not isinstance(values, list):
            raise DataError(f"{self} has {key} {_shown(values)}; it must be a list of objects.")
        return [Entry(self.path, kind, value, inside) for value in values]

    def _given(self, key: str) -> Any:
        value = self.record.get(key)
        if value is None:
            raise DataError(f"{self} has no {key}.")
        return value

    def _integer(self, key: str, value: Any, minimum: int, maximum: int) -> int:
        written = type(value) is str and len(value) < 20 and value.removeprefix("-").isdecimal()
        if written or (type(value) is float and value.is_integer()):
            value = int(value)
        if type(value) is int and minimum <= value <= maximum:
            return value
        raise DataError(f"{self} has {key} {_shown(value)}; it must be an integer from {minimum:,} to {maximum:,}.")


def top_level(path: Path, document: Any, form: str, lists: tuple[str, ...]) -> Entry:
    """The top-level object; raises `DataError` unless it contains these lists."""
    if not isinstance(document, Mapping) or not all(isinstance(document.get(name), list) for name in lists):
        needed = ", ".join(f"`{name}`" for name in lists)
        raise DataError(f"{path} is not {form} JSON; it must contain the lists {needed}.")
    annotations = document.get("annotations")
    first: Any = annotations[0] if isinstance(annotations, list) and annotations else None
    for other, (key, name, data_set) in _FORMS.items() if form in _FORMS and isinstance(first, Mapping) else ():
        if key in first and _FORMS[form][0] not in first:
            raise DataError(
                f"{path} is {other} JSON (its annotations have {key}), not {form} JSON. "
                f"Replace it, or rename it to {name} and use the folder as {data_set}."
            )
    return Entry(path, "the file", document)


def named_file(folder: Path, name: str) -> str:
    """`name` with backslashes, as written on Windows, replaced by "/", unless a file below `folder` has that name."""
    posix = name.replace("\\", "/")
    return posix if posix != name and not is_file(folder / name) else name


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False for invalid names, too."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _shown(value: Any) -> str:
    text = " ".join(repr(value)[:200].split())
    return text if len(text) <= 60 else text[:59] + "…"
