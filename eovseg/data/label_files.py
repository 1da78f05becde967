"""Reading the files of a data set; every error names the file in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.errors import DataError

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_INDEX_MODES = ("P", "L", "1", "I", "I;16", "I;16B")


def check_size(path: Path, pixels: np.ndarray, width: int, height: int, says: str = "its data set says") -> None:
    """Raises `DataError` when a photo or label file has another size than its data set says."""
    if pixels.shape[:2] != (height, width):
        raise DataError(f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, {says} {width}x{height}.")


def read_rgb(path: Path) -> np.ndarray:
    """An image file's pixels as stored, (H, W, 3) uint8 RGB, never turned by EXIF as labels are not either.

    Raises `DataError` naming a file that cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an image ({error}).") from error


def read_index(path: Path) -> np.ndarray:
    """An index mask's values as stored, (H, W) integers; a palette picture gives its indices.

    Raises `DataError` for a missing or unreadable file and for colour pictures.
    """
    try:
        with Image.open(path) as image:
            if image.mode in _INDEX_MODES:
                return np.asarray(image)
            mode = image.mode
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an image ({error}).") from error
    raise DataError(f"{path} is a colour picture ({mode}); an index mask has one channel, the class of each pixel.")


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) from a file's header; raises `DataError` naming a file that is missing or no image."""
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing.") from error
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an image ({error}).") from error


def read_json(path: Path) -> Any:
    """A JSON file's content; raises `DataError` for a missing file or broken JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); the data set needs this file.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error
