"""Reading the files of a data set; every error names the file in one sentence."""

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
    with _opened(path) as image:
        return np.asarray(image.convert("RGB"))


def read_index(path: Path) -> np.ndarray:
    """An index mask's values as stored, (H, W) integers; a palette picture gives its indices.

    Raises `DataError` for a missing or unreadable file and for colour pictures.
    """
    with _opened(path) as image:
        if image.mode in _INDEX_MODES:
            return np.asarray(image)
        mode = image.mode
    raise DataError(f"{path} is a colour picture ({mode}); an index mask has one channel, the class of each pixel.")


def read_colours(path: Path) -> np.ndarray:
    """A panoptic PNG's pixels as stored, (H, W, 3) uint8; a palette picture gives its colours.

    Raises `DataError` for a missing or unreadable file and for pictures without colours.
    """
    with _opened(path) as image:
        if image.mode in _COLOUR_MODES:
            return np.asarray(image.convert("RGB"))
        mode = image.mode
    raise DataError(
        f"{path} is a grey picture ({mode}); a panoptic PNG holds ids in its colours, red + 256 green + 65,536 blue."
    )


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the photo that `read_photo` gives; raises `DataError` naming a file that cannot be read."""
    try:
        return photo_size(path, name=str(path))
    except ImageError as error:
        raise DataError(str(error)) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file as an image; what goes wrong with it while it is read becomes a `DataError` that names it."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing.") from error
    except MemoryError as error:
        raise DataError(f"{path} is too large for this computer's memory.") from error
    except Exception as error:  # Pillow's readers raise anything (SyntaxError, struct.error, ...) for damaged bytes
        raise DataError(f"{path} cannot be read as an image ({_reason(error)}).") from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def read_json(path: Path) -> Any:
    """A JSON file's content, in UTF-8 or UTF-16, with a byte order mark or without.

    Raises `DataError` for a missing file or broken JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); the data set needs this file.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({_reason(error)}).") from error
