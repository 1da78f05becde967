"""Photos in: one loader for files, PIL images and arrays, and the resizing before the network."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from eovseg.errors import ImageError

MAX_PIXELS = 64_000_000
# The network sees a photo at short side 640 and long side 2560 at most: beyond this ratio nothing is left to see.
MAX_ASPECT_RATIO = 50
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
ACCEPTED = "JPEG, PNG, WebP, BMP, TIFF, GIF and AVIF photos are accepted"

_ON_ITS_SIDE = (5, 6, 7, 8)  # EXIF orientations that exchange width and height

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")

ImageSource = str | os.PathLike[str] | Image.Image | np.ndarray


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS, name: str | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file, a PIL image or an array, as a person would see it; a copy, never a view.

    Rotation in EXIF is applied, transparency shows white, of an animation the first frame is taken.
    Arrays are (H, W) or (H, W, 1 | 3 | 4): uint8, uint16, bool, or float in 0..1.
    Raises `ImageError` for what cannot be read, for more than `max_pixels` pixels (checked before decoding) and for
    sides more than 50:1 apart. It calls a file `name`, by default the file's name without its folder.
    """
    if isinstance(source, np.ndarray):
        if not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (1, 3, 4))):
            raise ImageError(f"An array must be (H, W) or (H, W, 1, 3 or 4), not {source.shape}.")
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
    raise ImageError(f"A photo is a path, a PIL image or an array, not {type(source).__name__}.")


def photo_size(path: str | os.PathLike[str], name: str | None = None) -> tuple[int, int]:
    """(width, height) of the picture that `load_image` makes of a file, without decoding it where the header is enough.

    Raises `ImageError` as `load_image` does, except for damage behind the header.
    """
    path = Path(path)
    with _opened(path, name or f'"{path.name}"', MAX_PIXELS) as image:
        width, height = image.size
        # Of a square nothing need be known, and the size of a TIFF file is upright in Pillow already.
        if width == height or image.format == "TIFF":
            return width, height
        turned = False
        with contextlib.suppress(Exception):  # damaged EXIF data, as in `_decode`
            # Pillow decodes a whole PNG for what may be told behind its pixels.
            before = image.format == "PNG" and not _tells_behind_pixels(path)
            exif = Image.Image.getexif(image) if before else image.getexif()
            turned = exif.get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
        return (height, width) if turned else (width, height)


def _tells_behind_pixels(path: Path) -> bool:
    """Whether a PNG file has EXIF data or text behind its pixels; only the headers of its chunks are read."""
    with path.open("rb") as file:
        file.seek(len(_PNG_SIGNATURE))
        pixels = False
        while len(header := file.read(8)) == 8:
            kind = header[4:]
            if pixels and kind in _PNG_METADATA:
                return True
            pixels = pixels or kind == b"IDAT"
            file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)  # the chunk and its checksum
    return False


def network_size(height: int, width: int, short_side: int = 640, long_side: int = 2560) -> tuple[int, int]:
    """(height, width) at which the network sees a photo: detectron2's ResizeShortestEdge, rounding included."""
    scale = short_side / min(height, width)
    new_height, new_width = (short_side, scale * width) if height < width else (scale * height, short_side)
    if max(new_height, new_width) > long_side:
        scale = long_side / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def resize_for_network(image: np.ndarray, short_side: int = 640, long_side: int = 2560) -> np.ndarray:
    """`image` (H, W, 3) uint8 with its short side at `short_side` pixels, or its long side at `long_side` if that is
    smaller; Pillow's bilinear filter, as the published models saw their photos."""
    return resized(image, network_size(image.shape[0], image.shape[1], short_side, long_side))


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`image` (H, W, 3) uint8 scaled to `size` (height, width) with Pillow's bilinear filter."""
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


@contextlib.contextmanager
def _opened(path: Path, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """The file as an image whose size is allowed; whatever fails within the block is an `ImageError` about the file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ImageError(f"The photo {name} was not found ({ACCEPTED}).") from error
    except OSError as error:
        raise ImageError(_reason(name, error, "")) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f'"{path}" is a folder; give a photo in it ({ACCEPTED}).')
    if status.st_size == 0:
        raise ImageError(f"{name} is empty (0 bytes); {ACCEPTED}.")
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image.size, name, max_pixels)
            yield image
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_large(name, max_pixels)) from error
    except Exception as error:
        raise ImageError(_reason(name, error, "is not a photo that can be read")) from error


def _reason(name: str, error: Exception, damage: str) -> str:
    """Why a file is no picture: the system's own errors have a number, and hostile bytes make Pillow's readers raise
    anything (SyntaxError, struct.error, ...), which is `damage`."""
    if isinstance(error, MemoryError):
        return f"{name} needs more memory than there is; scale it down."
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name} cannot be read: {error.strerror}."
    return f"{name} {damage}; {ACCEPTED}."


def _decode(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
    except Exception as error:
        raise ImageError(_reason(name, error, "is damaged or cut off and cannot be decoded")) from error
    with contextlib.suppress(Exception):  # damaged EXIF data: the pixels are sound and are shown as they are stored
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _from_array(_grey_levels(np.asarray(image)))
    if image.has_transparency_data:
        return _from_array(np.asarray(image.convert("RGBA")))
    try:
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise ImageError(f"{name} has colours of the kind {image.mode}; save it as RGB and try again.") from error


def _grey_levels(values: np.ndarray) -> np.ndarray:
    """Grey values of Pillow's modes I;16, I and F as an array that `_from_array` takes: which range they use shows
    in the largest of them, since these modes record none."""
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
            raise ImageError("A float array must hold finite values from 0 to 1; divide values up to 255 by 255.")
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
            f"{name} is {width:,} x {height:,} pixels; one side may be at most {MAX_ASPECT_RATIO} times the other."
        )


def _too_large(name: str, max_pixels: int) -> str:
    return f"{name} is too large: at most {max_pixels / 1e6:g} million pixels are allowed, so scale it down first."
