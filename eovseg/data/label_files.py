"""Reading the files of a data set; every error names the file in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.errors import DataError, ImageError
from eovseg.images import load_image, photo_size

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_INDEX_MODES = ("P", "L", "1", "I", "I;16", "I;16B")


def check_size(path: Path, pixels: np.ndarray, width: int, height: int, says: str = "its data set says") -> None:
    """Raises `DataError` when a photo or label file, `pixels` (H, W, ...), has another size than its data set says."""
    check_sizes(path, (pixels.shape[1], pixels.shape[0]), (width, height), says)


def check_sizes(path: Path, found: tuple[int, int], wanted: tuple[int, int], says: str = "its data set says") -> None:
    """Raises `DataError` unless the (width, height) of a photo or label file is the one that is wanted."""
    if found == wanted:
        return
    turn = ""
    if found == wanted[::-1]:
        turn = (
            " They differ only by a turn: labels belong on the upright photo, turned as its EXIF orientation says, so "
            "turn the labels, or save the photo without that orientation."
        )
    raise DataError(f"{path} is {found[0]}x{found[1]} pixels, {says} {wanted[0]}x{wanted[1]}.{turn}")


def read_photo(path: Path) -> np.ndarray:
    """A photo as the product sees it (`eovseg.images.load_image`), (H, W, 3) uint8 RGB.

    Raises `DataError` naming a file that cannot be read.
    """
    try:
        return load_image(path, name=str(path))
    except ImageError as error:
        raise DataError(str(error)) from error


def read_rgb(path: Path) -> np.ndarray:
    """A label picture's values as stored, (H, W, 3) uint8 RGB, never turned by EXIF; for photos see `read_photo`.

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
    """(width, height) of the photo that `read_photo` gives; raises `DataError` naming a file that cannot be read."""
    try:
        return photo_size(path, name=str(path))
    except ImageError as error:
        raise DataError(str(error)) from error


def read_json(path: Path) -> Any:
    """A JSON file's content; raises `DataError` for a missing file or broken JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); the data set needs this file.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error
