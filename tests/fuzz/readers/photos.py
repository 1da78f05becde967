"""Photos: every supported format, with the pixel types and metadata that cameras and editors write."""

import functools
import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.images import load_image, photo_size
from tests.fuzz.harness import Reader
from tests.fuzz.mutations import mutated

_PNG = b"\x89PNG\r\n\x1a\n"


@functools.cache
def originals() -> tuple[bytes, ...]:
    """Small valid photos."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 4), np.uint8)
    clear, colour, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., :3]), Image.fromarray(pixels[..., 0])
    deep, real = Image.fromarray(pixels[..., 0] * np.uint16(257)), Image.fromarray(pixels[..., 0] / np.float32(255))
    turned = Image.Exif()
    turned[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [colour.rotate(180)]}
    return (
        _saved(colour, "JPEG", exif=turned), _saved(grey, "JPEG", progressive=True), _saved(colour, "MPO", **frames),
        _saved(colour.convert("CMYK"), "JPEG"), _saved(clear, "PNG"), _saved(colour, "PNG", exif=turned),
        _saved(deep, "PNG"), _saved(grey.convert("P"), "PNG", transparency=3), _saved(grey.convert("1"), "PNG"),
        _saved(clear, "WEBP", lossless=True), _saved(colour, "WEBP", exif=turned), _saved(clear, "WEBP", **frames),
        _saved(colour, "BMP"), _saved(grey, "BMP"), _saved(real, "TIFF"), _saved(deep, "TIFF"),
        _saved(clear, "TIFF", compression="tiff_lzw"), _saved(colour, "TIFF", compression="jpeg"),
        _saved(grey.convert("1"), "TIFF", compression="group4"), _saved(colour.convert("LAB"), "TIFF"),
        _saved(colour.convert("P"), "GIF", transparency=1), _saved(colour.convert("P"), "GIF", **frames),
        _saved(colour, "AVIF", exif=turned), _saved(clear, "AVIF"),
    )  # fmt: skip


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make(seed: int) -> bytes:
    """A damaged photo. The checksums of half of the PNGs are corrected, so that the data after them is read."""
    content = mutated(originals(), seed)
    return _with_checksums(content) if content.startswith(_PNG) and random.Random(~seed).random() < 0.5 else content


def _with_checksums(content: bytes) -> bytes:
    fixed, place = bytearray(content), len(_PNG)
    while place + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, place)
        end = place + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(fixed[place + 4 : end]))
        place = end + 4
    return bytes(fixed)


def read(path: Path) -> None:
    """Loads a photo: (H, W, 3) uint8, of the size returned by `photo_size`."""
    size = photo_size(path)
    pixels = load_image(path)
    assert size == pixels.shape[1::-1], (size, pixels.shape)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size


READERS = [Reader("photos", make, read, suffix=".photo")]
