"""Readers for the files of a data set; every error names the file."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.errors import DataError, ImageError
from eovseg.images import load_image, photo_size

_COLOUR_MODES = ("RGB", "RGBA", "P")
_INDEX_MODES = ("P", "L", "1", "I", "I;16", "I;16B")


def check_size(path: Path, pixels: np.ndarray, width: int, height: int, says: str = "its data set says") -> None:
    """Raises `DataError` unless a photo or label file, `pixels` (H, W, ...), has the size that its data set states."""
    check_sizes(path, (pixels.shape[1], pixels.shape[0]), (width, height), says)


def check_sizes(path: Path, found: tuple[int, int], wanted: tuple[int, int], says: str = "its data set says") -> None:
    """Raises `DataError` unless the (width, height) of a photo or label file is `wanted`."""
    if found == wanted:
        return
    turn = ""
    if found == wanted[::-1]:
        turn = (
            " Width and height are swapped: labels must match the photo after applying its EXIF orientation. Rotate "
            "the labels, or save the photo without EXIF orientation."
        )
    raise DataError(f"{path} is {found[0]}x{found[1]} pixels, but {says} {wanted[0]}x{wanted[1]}.{turn}")


def read_photo(path: Path) -> np.ndarray:
    """A photo read with `eovseg.images.load_image`, (H, W, 3) uint8 RGB.

    Raises `DataError` if the file cannot be read.
    """
    try:
        return load_image(path, name=str(path))
    except ImageError as error:
        raise DataError(str(error)) from error


def read_rgb(path: Path) -> np.ndarray:
    """The raw values of a label image, (H, W, 3) uint8 RGB, ignoring EXIF orientation; for photos use `read_photo`.

    Raises `DataError` if the file cannot be read.
    """
    with _opened(path) as image:
        return np.asarray(image.convert("RGB"))


def read_index(path: Path) -> np.ndarray:
    """The raw values of an index mask, (H, W) integers; for a palette image, its indices.

    Raises `DataError` for a missing or unreadable file and for colour images.
    """
    with _opened(path) as image:
        if image.mode in _INDEX_MODES:
            return np.asarray(image)
        mode = image.mode
    raise DataError(f"{path} is a colour image ({mode}); an index mask has one channel, the class of each pixel.")


def read_colours(path: Path) -> np.ndarray:
    """The raw pixels of a panoptic PNG, (H, W, 3) uint8; for a palette image, its colours.

    Raises `DataError` for a missing or unreadable file and for greyscale images.
    """
    with _opened(path) as image:
        if image.mode in _COLOUR_MODES:
            return np.asarray(image.convert("RGB"))
        mode = image.mode
    raise DataError(
        f"{path} is a greyscale image ({mode}); a panoptic PNG encodes ids as red + 256 green + 65,536 blue."
    )


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the photo as `read_photo` returns it; raises `DataError` if the file cannot be read."""
    try:
        return photo_size(path, name=str(path))
    except ImageError as error:
        raise DataError(str(error)) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Opens the file as an image; any error while reading it becomes a `DataError` naming it."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing.") from error
    except MemoryError as error:
        raise DataError(f"{path} is too large for this computer's memory.") from error
    except Exception as error:  # for damaged files, Pillow may raise anything (SyntaxError, struct.error, ...)
        raise DataError(f"{path} cannot be read as an image ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8 or UTF-16, with or without a byte order mark.

    Raises `DataError` for a missing file or broken JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); the data set requires this file.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({_reason(error)}).") from error
