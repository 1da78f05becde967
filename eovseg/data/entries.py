"""Values of a data set's JSON, judged and not just converted: every error names the file and the entry."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eovseg.errors import DataError
from eovseg.images import MAX_PIXELS

LARGEST_NUMBER = 2**31 - 1
LARGEST_KEY = 2**63 - 1  # of photos and annotations, which some tools number by hashes
LARGEST_SEGMENT_ID = 2**24 - 1  # what the three bytes of a PNG's pixel hold
LONGEST_SIDE = 65_535


class Entry:
    """One JSON object of the file `path`; `kind` and `inside` name it in errors ("segment 7 of a.png")."""

    __slots__ = ("inside", "kind", "path", "record")

    def __init__(self, path: Path, kind: str, record: Any, inside: str = "") -> None:
        self.path, self.kind, self.inside = path, kind, inside
        if not isinstance(record, Mapping):
            raise DataError(f"{path}: each {kind} must be an object of names and values, not {_shown(record)}.")
        self.record: Mapping[str, Any] = record

    def __str__(self) -> str:
        number = self.record.get("id", self.record.get("image_id"))
        named = self.kind if number is None else f"{self.kind} {_shown(number)}"
        return f"{self.path}: {named}" + (f" of {self.inside}" if self.inside else "")

    def get(self, key: str) -> Any:
        """The value as it is, None where there is none."""
        return self.record.get(key)

    def whole(self, key: str, least: int = 0, most: int = LARGEST_NUMBER) -> int:
        """A whole number from `least` to `most`; 5.0 and "5" count as 5. Raises `DataError` for anything else."""
        return self._whole(key, self._given(key), least, most)

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, empty where it is not given."""
        values = self.record.get(key)
        if values is None:
            return ()
        if not isinstance(values, list):
            raise DataError(f"{self} has {key} {_shown(values)}; a list of whole numbers is needed.")
        return tuple(self._whole(key, value, 0, LARGEST_NUMBER) for value in values)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Yes or no as 1 or 0, true or false; `default` where it is not given, an error where there is none."""
        value = self.record.get(key)
        if value is None and default is not None:
            return default
        value = self._given(key)
        if isinstance(value, bool | int | float) and value in (0, 1):
            return bool(value)
        raise DataError(f"{self} has {key} {_shown(value)}; write 1 or 0.")

    def text(self, key: str, most: int = 300) -> str:
        """Text that is not blank, of at most so many characters."""
        value = self._given(key)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{self} has {key} {_shown(value)}; text is needed.")
        if len(value) > most:
            raise DataError(f"{self} has {key} {_shown(value)}; at most {most} characters are allowed.")
        return value

    def key(self, key: str) -> str:
        """What identifies an image, a whole number or text, as text."""
        value = self._given(key)
        return self.text(key) if isinstance(value, str) else str(self.whole(key, -LARGEST_KEY, LARGEST_KEY))

    def size(self) -> tuple[int, int]:
        """`width` and `height` of a photo in pixels."""
        width, height = self.whole("width", 1, LONGEST_SIDE), self.whole("height", 1, LONGEST_SIDE)
        if width * height > MAX_PIXELS:
            raise DataError(f"{self} has {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are read.")
        return width, height

    def coco_id(self) -> int | None:
        """`coco_id` of a photo that is one of COCO's, where it is given."""
        return None if self.get("coco_id") is None else self.whole("coco_id")

    def entries(self, key: str, kind: str, inside: str = "") -> list["Entry"]:
        """A list of objects, each named `kind` in errors."""
        values = self._given(key)
        if not isinstance(values, list):
            raise DataError(f"{self} has {key} {_shown(values)}; a list of objects is needed.")
        return [Entry(self.path, kind, value, inside) for value in values]

    def _given(self, key: str) -> Any:
        value = self.record.get(key)
        if value is None:
            raise DataError(f"{self} has no {key}.")
        return value

    def _whole(self, key: str, value: Any, least: int, most: int) -> int:
        written = type(value) is str and len(value) < 20 and value.removeprefix("-").isdecimal()
        if written or (type(value) is float and value.is_integer()):
            value = int(value)
        if type(value) is int and least <= value <= most:
            return value
        raise DataError(f"{self} has {key} {_shown(value)}; a whole number from {least:,} to {most:,} is needed.")


def top_level(path: Path, document: Any, form: str, lists: tuple[str, ...]) -> Entry:
    """The whole document; raises `DataError` unless it is an object that holds these lists."""
    if not isinstance(document, Mapping) or not all(isinstance(document.get(name), list) for name in lists):
        needed = ", ".join(f"`{name}`" for name in lists)
        raise DataError(f"{path} is not {form} JSON; it needs the lists {needed}.")
    return Entry(path, "the file", document)


def named_file(folder: Path, name: str) -> str:
    """`name` as a file below `folder` is really called: with "/" where a Windows program wrote backslashes."""
    posix = name.replace("\\", "/")
    return posix if posix != name and not is_file(folder / name) else name


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False, too, for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _shown(value: Any) -> str:
    text = " ".join(repr(value)[:200].split())
    return text if len(text) <= 60 else text[:59] + "…"
