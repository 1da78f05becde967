"""Pictures with a subject: cutouts, spotlights, blurred or grey backgrounds; and pictures of the outlines only.

Edges are soft over two pixels; the opacity is above one half exactly inside the segment's mask.
"""

from typing import Literal, get_args

import numpy as np
import scipy
from PIL import Image, ImageFilter

from eovseg.errors import ConfigError
from eovseg.overlay import outline_pixels

OutlineBackground = Literal["white", "photo", "transparent"]
_SOFTNESS = 2.0  # pixels from opaque to transparent
_GLOW = 0.012  # how far a spotlight reaches beyond its subject, as a fraction of the shorter side
_DIM = 0.28  # brightness outside a spotlight
_BLUR = 0.02  # standard deviation of the blur of a background, as a fraction of the shorter side
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def soft_edges(mask: np.ndarray, width: float = _SOFTNESS) -> np.ndarray:
    """Opacity (H, W) float32 in 0..1 of a mask (H, W) bool, above one half exactly inside it.

    It rises over `width` pixels across the mask's outline.
    """
    inside = np.asarray(scipy.ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge")))[1:-1, 1:-1]
    outside = np.asarray(scipy.ndimage.distance_transform_edt(~mask)) if mask.any() else np.full(mask.shape, np.inf)
    distance = np.where(mask, inside - 0.5, 0.5 - outside) if not mask.all() else np.full(mask.shape, np.inf)
    return np.clip(0.5 + distance / width, 0, 1).astype(np.float32)


def cutout(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The pixels of `mask` (H, W) bool of `image` (H, W, 3) uint8 as RGBA, cropped to the mask and its soft edge.

    Fully transparent pixels are black, so the file contains nothing of the rest of the photo. An empty mask gives a
    transparent picture of one pixel.
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return Image.new("RGBA", (1, 1))
    box = tuple(slice(max(int(found[0]) - 1, 0), int(found[-1]) + 2) for found in (rows, columns))
    opacity = np.round(255 * soft_edges(mask[box])).astype(np.uint8)
    colours = np.where(opacity[..., None] > 0, image[box], 0)
    return Image.fromarray(np.dstack([colours, opacity]).astype(np.uint8))


def spotlight(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The photo, darkened except for `mask`; the light fades out around it."""
    near = soft_edges(mask)
    if mask.any():
        reach = max(2.0, _GLOW * min(mask.shape))
        fading = np.exp(-np.asarray(scipy.ndimage.distance_transform_edt(~mask), dtype=np.float32) / reach)
        near = np.maximum(near, 0.6 * fading)
    return _before(image, _DIM * (0.5 * image + 0.5 * _grey(image)), near)


def grey_background(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The photo, in shades of grey except for `mask`."""
    return _before(image, _grey(image), soft_edges(mask))


def blurred_background(image: np.ndarray, mask: np.ndarray, strength: float = 1.0) -> Image.Image:
    """The photo, blurred except for `mask`, whose colours do not bleed into the blur.

    `strength` 0..4 scales the blur. Raises `ConfigError` for other values.
    """
    if not 0 <= strength <= 4:
        raise ConfigError(f"The blur's strength must be between 0 and 4, not {strength}.")
    blur = ImageFilter.GaussianBlur(strength * _BLUR * min(mask.shape))
    rest = (~mask).astype(np.uint8) * np.uint8(255)
    weight = np.asarray(Image.fromarray(rest).filter(blur), dtype=np.float32)[..., None]
    seen = Image.fromarray(np.where(mask[..., None], 0, image).astype(np.uint8)).filter(blur)
    # Deep inside the subject, the blur has no data; these pixels are covered anyway.
    behind = np.where(weight >= 1, 255 * np.asarray(seen, dtype=np.float32) / np.maximum(weight, 1), image)
    return _before(image, behind.clip(0, 255), soft_edges(mask))


def outlines(
    image: np.ndarray, segment_map: np.ndarray, colours: np.ndarray, on: OutlineBackground = "white"
) -> Image.Image:
    """Only the borders of segments, in their colours: RGBA if `on` is "transparent", else RGB.

    `segment_map` (H, W) int: 1 + the index in `colours` (n, 3) uint8, 0 = no segment. Raises `ConfigError` for any
    other `on`.
    """
    if on not in get_args(OutlineBackground):
        raise ConfigError(f'Outlines can be drawn on {", ".join(get_args(OutlineBackground))}, not on "{on}".')
    lines = outline_pixels(segment_map)
    inked = np.r_[np.zeros((1, 3), dtype=np.uint8), _ink(colours, dark=on != "photo")][segment_map]
    if on == "transparent":
        return Image.fromarray(np.dstack([np.where(lines[..., None], inked, 0), 255 * lines]).astype(np.uint8))
    ground = image if on == "photo" else np.full_like(image, 255)
    return Image.fromarray(np.where(lines[..., None], inked, ground).astype(np.uint8))


def _before(image: np.ndarray, background: np.ndarray, opacity: np.ndarray) -> Image.Image:
    """The photo where `opacity` (H, W) is 1 and `background` (H, W, 3) in 0..255 where it is 0."""
    blended = background + (image - background) * opacity[..., None]
    return Image.fromarray(np.round(blended).astype(np.uint8))


def _grey(image: np.ndarray) -> np.ndarray:
    return (image.astype(np.float32) @ _LUMA)[..., None]


def _ink(colours: np.ndarray, dark: bool) -> np.ndarray:
    """The colours, with those that are too light for a line on white darkened to the same luminance."""
    luminance = colours.astype(np.float32) @ _LUMA
    scale = np.minimum(1, 120 / np.maximum(luminance, 1)) if dark else np.ones(len(colours))
    return np.asarray(colours * scale[:, None]).astype(np.uint8)
