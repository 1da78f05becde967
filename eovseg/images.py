"""Photo input: one loader for files, PIL images and arrays, and resizing for the network."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from eovseg.errors import ImageError

MAX_PIXELS = 64_000_000
# The network's input is limited to a long side of 2560 pixels, so more extreme photos would become too thin.
MAX_ASPECT_RATIO = 50
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
ACCEPTED = "JPEG, PNG, WebP, BMP, TIFF, GIF and AVIF are supported"

_ON_ITS_SIDE = (5, 6, 7, 8)  # EXIF orientations that swap width and height

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")

ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS, name: str | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file, a PIL image or an array, as an image viewer would show it; always a copy.

    Applies EXIF orientation, blends transparency with white, and uses the first frame of an animation.
    Arrays are (H, W) or (H, W, 1 | 3 | 4): uint8, uint16, bool, or float in 0..1.
    Raises `ImageError` if the photo is unreadable, has more than `max_pixels` pixels (checked before decoding) or an
    aspect ratio above 50:1. `name` is used for the file in messages and defaults to its name without the folder.
    """
    if isinstance(source, np.ndarray):
        if not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (1, 3, 4))):
            raise ImageError(f"An array must have the shape (H, W) or (H, W, 1, 3 or 4), not {source.shape}.")
        _check_size((source.shape[1], source.shape[0]), "The array", max_pixels)
        return _from_array(source)
    if isinstance(source, Image.Image):
        _check_size(source.size, "The image", max_pixels)
        return _decode(source, "The image")
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or f'"{path.name}"'
        with _opened(path, name, max_pixels) as image:
            return _decode(image, name)
    raise ImageError(f"A photo must be a path, a PIL image or an array, not {type(source).__name__}.")


def photo_size(path: str | os.PathLike[str], name: str | None = None) -> tuple[int, int]:
    """(width, height) of the image that `load_image` returns for a file, without decoding it if the header suffices.

    Raises the `ImageError`s of `load_image`, except for damage after the header.
    """
    path = Path(path)
    with _opened(path, name or f'"{path.name}"', MAX_PIXELS) as image:
        width, height = image.size
        # For a square, orientation does not matter; for TIFF files, Pillow's size already accounts for it.
        if width == height or image.format == "TIFF":
            return width, height
        turned = False
        with contextlib.suppress(Exception):  # damaged EXIF data, as in `_decode`
            # Pillow decodes the full PNG to find EXIF data after the pixels.
            before = image.format == "PNG" and not _has_trailing_metadata(path)
            exif = Image.Image.getexif(image) if before else image.getexif()
            turned = exif.get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
        return (height, width) if turned else (width, height)


def _has_trailing_metadata(path: Path) -> bool:
    """Whether a PNG file has EXIF data or text after its pixels; reads only the chunk headers."""
    with path.open("rb") as file:
        file.seek(len(_PNG_SIGNATURE))
        pixels = False
        while len(header := file.read(8)) == 8:
            kind = header[4:]
            if pixels and kind in _PNG_METADATA:
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)  # skip the chunk and its checksum
    return False


def network_size(height: int, width: int, short_side: int = 640, long_side: int = 2560) -> tuple[int, int]:
    """(height, width) of the network's input: detectron2's ResizeShortestEdge, including its rounding."""
    scale = short_side / min(height, width)
    new_height, new_width = (short_side, scale * width) if height < width else (scale * height, short_side)
    if max(new_height, new_width) > long_side:
        scale = long_side / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def resize_for_network(image: np.ndarray, short_side: int = 640, long_side: int = 2560) -> np.ndarray:
    """`image` (H, W, 3) uint8 resized to a short side of `short_side` pixels and a long side of at most `long_side`,
    with Pillow's bilinear filter, as used for the published models."""
    return resized(image, network_size(image.shape[0], image.shape[1], short_side, long_side))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`image` (H, W, 3) uint8 scaled to `size` (height, width) with Pillow's bilinear filter."""
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


@contextlib.contextmanager
def _opened(path: Path, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """Opens a file as an image and checks its size; any error in the block becomes an `ImageError` about the file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        what = "photo" if path.suffix else "photo or folder"
        raise ImageError(f"The {what} {name} was not found ({ACCEPTED}).") from error
    except OSError as error:
        raise ImageError(_reason(name, error, "")) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f'"{path}" is a folder; give a photo file ({ACCEPTED}).')
    if status.st_size == 0:
        raise ImageError(f"{name} is empty (0 bytes); give a photo file ({ACCEPTED}).")
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image.size, name, max_pixels)
            yield image
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(name, max_pixels)) from error
    except Exception as error:
        raise ImageError(_reason(name, error, "is not a readable photo")) from error


def _reason(name: str, error: Exception, damage: str) -> str:
    """Why a file cannot be read. Errors of the operating system have an errno; anything else that Pillow raises for
    invalid data (SyntaxError, struct.error, ...) is described by `damage`."""
    if isinstance(error, MemoryError):
        return f"{name} needs more memory than available; scale it down."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name} cannot be read: {error.strerror}."
    return f"{name} {damage}; {ACCEPTED}."


def _decode(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
    except Exception as error:
        raise ImageError(_reason(name, error, "is damaged or truncated and cannot be decoded")) from error
    with contextlib.suppress(Exception):  # damaged EXIF data: keep the stored orientation
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _from_array(_grey_levels(np.asarray(image)))
    if image.has_transparency_data:
        return _from_array(np.asarray(image.convert("RGBA")))
    try:
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise ImageError(f"{name} has the unsupported colour mode {image.mode}; save it as RGB.") from error


def _grey_levels(values: np.ndarray) -> np.ndarray:
    """Grey values of Pillow's modes I;16, I and F as an array for `_from_array`. These modes do not define a value
    range, so it is inferred from the largest value."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).clip(0)
        top = values.max(initial=0.0)
        return values if top <= 1 else values / (255.0 if top <= 255 else top)
    values = values.clip(0)
    if values.dtype.itemsize == 2 or values.max(initial=0) <= 65_535:
        return values.astype(np.uint16)
    return values / values.max()


def _from_array(array: np.ndarray) -> np.ndarray:
    levels = _to_uint8(array)
    if levels.ndim == 2:
        levels = levels[:, :, None]
    if levels.shape[2] == 4:
        colour, alpha = levels[..., :3].astype(np.uint16), levels[..., 3:].astype(np.uint16)
        levels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.array(np.broadcast_to(levels, (*levels.shape[:2], 3)), order="C")


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError("A float array must contain finite values from 0 to 1; divide values up to 255 by 255.")
        return (array * 255 + 0.5).astype(np.uint8)
    raise ImageError(f"An array must be uint8, uint16, bool or float from 0 to 1, not {array.dtype}.")


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels.")
    if width * height > max_pixels:
        raise ImageError(_too_large(f"{name} ({width:,} x {height:,})", max_pixels))
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageError(
            f"{name} is {width:,} x {height:,} pixels; the aspect ratio must be at most {MAX_ASPECT_RATIO}:1."
        )


def _too_large(name: str, max_pixels: int) -> str:
    return f"{name} is too large: at most {max_pixels / 1e6:g} million pixels are allowed. Scale it down first."
