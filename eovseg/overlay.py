"""Draws a result: coloured segments over the photo, borders between them, and a label inside each.

A label is placed where its segment is widest: at the maximum of the distance to the border (the pole of
inaccessibility), with vertical distances stretched because labels are wide. Larger segments are labelled first; a label
that would overlap another moves to the next best position in its segment, and is omitted if there is none.
"""

import importlib.util
import unicodedata
from collections.abc import Callable, Collection, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import scipy
from PIL import Image, ImageDraw, ImageFont

from eovseg.colours import segment_colours, segment_labels, text_colour
from eovseg.errors import ConfigError

_BAND_PIXELS = 4_000_000  # pixels blended at a time, to avoid a full 16-bit copy of large photos
_PLACING_SIDE = 320  # size of the downsampled map on which labels are placed
_VERTICAL_STRETCH = 2.5
_LARGEST_ID = 256**3 - 1
_MAX_CHARACTERS = 28
_SUPERSAMPLING = 4
_DIMMED_LIGHT = 0.5
# System fonts for characters that Pillow's default font lacks; DejaVu is also taken from matplotlib.
_FONT_NAMES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "Arial Unicode.ttf",
    "arialuni.ttf",
    "segoeui.ttf",
    "msyh.ttc",
    "PingFang.ttc",
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1


class DrawableSegment(Protocol):
    """The part of a segment that drawing depends on."""

    @property
    def id(self) -> int: ...
    @property
    def label(self) -> str: ...


def draw_overlay(
    image: np.ndarray,
    segment_map: np.ndarray,
    segments: Sequence[DrawableSegment],
    opacity: float = 0.5,
    labels: bool = True,
    highlight: Collection[int] | None = None,
    colours: np.ndarray | None = None,
) -> Image.Image:
    """The photo `image` (H, W, 3) uint8 with the segments of `segment_map` (H, W) drawn over it, as RGB.

    `opacity` 0 shows only the photo, 1 flat colours. `highlight`: ids of segments that keep their colour while
    everything else is dimmed (default: no dimming). Ids in the map without a segment are not drawn. `colours` (n, 3)
    uint8 overrides `segment_colours`.
    Raises `ConfigError` for an opacity outside 0..1 or a map of a different size.
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"The overlay's opacity must be between 0 and 1, not {opacity}.")
    if segment_map.shape != image.shape[:2]:
        raise ConfigError(f"The segment map is {segment_map.shape}, the photo {image.shape[:2]}; the sizes must match.")
    if colours is None:
        colours = segment_colours(segments)
    indices = _segment_indices(segment_map, segments)
    chosen = np.array([not highlight or segment.id in highlight for segment in segments], dtype=bool)
    picture = Image.fromarray(_blend(image, indices, colours, chosen, opacity, dim=bool(highlight)))
    if labels:
        _draw_labels(picture, indices, segments, colours, chosen, everywhere=bool(highlight))
    return picture


def _segment_indices(segment_map: np.ndarray, segments: Sequence[DrawableSegment]) -> np.ndarray:
    """(H, W) int16: 1 + index in `segments` of each pixel's segment, 0 = none."""
    ids = np.array([segment.id for segment in segments], dtype=np.int64)
    top = int(ids.max(initial=0))
    if top > _LARGEST_ID or ids.min(initial=1) < 1:
        raise ConfigError(f"Segment ids must be from 1 to {_LARGEST_ID:,}, the limit of COCO panoptic PNGs.")
    position = np.zeros(top + 2, dtype=np.int16)
    position[ids] = np.arange(1, len(ids) + 1)
    return position[np.clip(segment_map, -1, top + 1)]  # -1 is the last entry, which is 0 like the first


def _blend(
    image: np.ndarray, indices: np.ndarray, colours: np.ndarray, chosen: np.ndarray, opacity: float, dim: bool
) -> np.ndarray:
    """The photo with tinted segments, borders and dimming of everything not chosen, in 8.8 fixed point by bands."""
    strength = np.r_[0, np.where(chosen, round(opacity * 256), 0)].astype(np.uint16)
    tint = np.r_[np.zeros((1, 3)), colours].astype(np.uint16) * strength[:, None]
    kept = np.r_[dim, dim & ~chosen]
    light = np.where(kept, round(_DIMMED_LIGHT * 256), 256 - strength).astype(np.uint16)
    thickness = _line_width(indices.shape)
    # Borders fade in with the tint, so that opacity 0 shows just the photo, and are opaque from 0.5 on.
    border_strength = round(min(1.0, 2 * opacity) * 256)
    border_tint = np.r_[np.zeros((1, 3)), _border_colour(colours)].astype(np.uint16) * np.uint16(border_strength)
    blended = np.empty_like(image)
    rows = max(1, _BAND_PIXELS // image.shape[1])
    for top in range(0, image.shape[0], rows):
        part = indices[top : top + rows]
        band = image[top : top + rows].astype(np.uint16)
        if dim:
            grey = (band @ np.array([77, 150, 29], dtype=np.uint16) >> 8)[..., None]
            band = np.where(kept[part][..., None], grey, band)
        band = (band * light[part][..., None] + tint[part]) >> 8
        before, after = max(top - thickness, 0), top + rows + thickness
        lines = _border(indices[before:after], thickness)[top - before : top - before + len(part)]
        lines &= np.r_[False, chosen][part]
        band[lines] = (band[lines] * (256 - border_strength) + border_tint[part[lines]]) >> 8
        blended[top : top + rows] = band
    return blended


def outline_pixels(indices: np.ndarray) -> np.ndarray:
    """(H, W) bool: lines along the borders of a map's segments, except at the photo's edge.

    `indices` (H, W) int: 0 = no segment, whose pixels are never part of a line.
    """
    return _border(indices, 3 * _line_width(indices.shape)) & (indices > 0)


def _border(indices: np.ndarray, thickness: int) -> np.ndarray:
    """(H, W) bool: pixels with a different index at most `thickness` pixels away along an axis."""
    lines = np.zeros(indices.shape, dtype=bool)
    for step in range(1, thickness + 1):
        across = indices[step:] != indices[:-step]
        lines[step:] |= across
        if step < thickness:  # one pixel less on this side allows odd widths
            lines[:-step] |= across
        along = indices[:, step:] != indices[:, :-step]
        lines[:, step:] |= along
        if step < thickness:
            lines[:, :-step] |= along
    return lines


def _line_width(shape: tuple[int, ...]) -> int:
    return max(1, round(min(shape[:2]) / 480))


def _draw_labels(
    picture: Image.Image,
    indices: np.ndarray,
    segments: Sequence[DrawableSegment],
    colours: np.ndarray,
    chosen: np.ndarray,
    everywhere: bool,
) -> None:
    """Draws the names of the chosen segments, largest first; `everywhere`: also in tiny segments."""
    size = float(np.clip(min(picture.size) / 30, 11, 60))
    names = segment_labels(segments)
    placer = _LabelPlacer(indices)
    for index in placer.by_area:
        if not chosen[index]:
            continue
        text = _drawable_name(names[index], segments[index].id)
        for scale in (1.0, 0.8):
            pill = _label_image(text, max(10, round(size * scale)), tuple(colours[index].tolist()))
            corner = placer.place(index, pill.size, everywhere)
            if corner:
                picture.paste(pill, corner, pill)
                break


class _LabelPlacer:
    """Finds free positions for labels inside segments; `indices` (H, W): 1 + segment index, 0 = none."""

    def __init__(self, indices: np.ndarray) -> None:
        self._height, self._width = indices.shape
        self._step = max(1, -(-max(indices.shape) // _PLACING_SIDE))
        self._map = indices[self._step // 2 :: self._step, self._step // 2 :: self._step]
        if not self._map.size:
            self._step, self._map = 1, indices
        inside = np.pad(~_border(self._map, 2), 1)
        stretched = scipy.ndimage.distance_transform_edt(inside, sampling=(_VERTICAL_STRETCH, 1.0))
        self._room = np.asarray(stretched)[1:-1, 1:-1] * self._step  # pixels to the left and right
        areas = np.bincount(self._map.ravel())[1:]
        self._boxes = scipy.ndimage.find_objects(self._map)
        self.by_area = [int(index) for index in np.argsort(-areas, kind="stable") if areas[index]]
        self._taken: list[Rectangle] = []

    def place(self, index: int, size: tuple[int, int], everywhere: bool) -> tuple[int, int] | None:
        """Upper left corner of a label of `size` (width, height) in segment `index`, or None if it does not fit.

        `everywhere`: a label may be larger than its segment.
        """
        width, height = size
        box = self._boxes[index]
        room = np.where(self._map[box] == index + 1, self._room[box], 0.0)
        top, left = box[0].start, box[1].start
        for x0, y0, x1, y1 in self._taken:  # keep the centre far enough away from other labels
            rows = self._grid(y0 - height / 2, top), self._grid(y1 + height / 2, top) + 1
            columns = self._grid(x0 - width / 2, left), self._grid(x1 + width / 2, left) + 1
            room[max(rows[0], 0) : max(rows[1], 0), max(columns[0], 0) : max(columns[1], 0)] = 0
        # Of the positions with nearly the most room, take the most central one: the middle of a long band.
        ys, xs = np.nonzero(room >= 0.93 * room.max())
        middle = ((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2).argmin()
        y, x = ys[middle], xs[middle]
        # The label may extend slightly beyond the border of a narrow segment.
        needed = 0.0 if everywhere else max(0.35 * width, 0.36 * _VERTICAL_STRETCH * height)
        if room[y, x] <= needed:
            return None
        corner_x = round((x + left + 0.5) * self._step - width / 2)
        corner_y = round((y + top + 0.5) * self._step - height / 2)
        corner = (min(max(corner_x, 0), self._width - width), min(max(corner_y, 0), self._height - height))
        if min(corner) < 0:
            return None
        self._taken.append((corner[0], corner[1], corner[0] + width, corner[1] + height))
        return corner

    def _grid(self, pixels: float, start: int) -> int:
        return int(pixels // self._step) - start


@lru_cache(maxsize=512)
def _label_image(text: str, size: int, colour: tuple[int, int, int]) -> Image.Image:
    """A label: `text` at `size` pixels on a rounded plate of `colour`, RGBA, antialiased."""
    font = _font_for(text, size)
    assert font is not None, "_drawable_name returns only text that a font supports"
    left, top, right, bottom = font.getbbox(text)
    line_top, line_bottom = font.getbbox("Ág")[1::2]  # the same height for all labels
    top, bottom = min(top, line_top), max(bottom, line_bottom)
    pad_x, pad_y = round(size * 0.4), round(size * 0.2)
    width, height = round(right - left) + 2 * pad_x, round(bottom - top) + 2 * pad_y
    radius = height * 0.3
    pill = Image.new("RGBA", (width, height), (*_border_colour(np.array(colour)).tolist(), 255))
    pill.paste(colour, mask=_rounded_rectangle((width, height), radius - 1, inset=1))
    black_or_white = text_colour(np.array(colour, dtype=np.uint8))
    ImageDraw.Draw(pill).text((pad_x - left, pad_y - top), text, font=font, fill=black_or_white)
    pill.putalpha(_rounded_rectangle((width, height), radius))
    return pill


def _rounded_rectangle(size: tuple[int, int], radius: float, inset: int = 0) -> Image.Image:
    """Antialiased mask of a rounded rectangle of `size`, shrunk by `inset` pixels on each side."""
    fine = Image.new("L", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING))
    edge = inset * _SUPERSAMPLING
    corners = (edge, edge, fine.width - 1 - edge, fine.height - 1 - edge)
    ImageDraw.Draw(fine).rounded_rectangle(corners, radius=radius * _SUPERSAMPLING, fill=255)
    return fine.resize(size, Image.Resampling.BOX)


def _border_colour(colours: np.ndarray) -> np.ndarray:
    """Colour of borders and label rims: a light tint of the segment's colour."""
    return (colours * 0.25 + 255 * 0.75).astype(np.uint8)


def _drawable_name(name: str, segment_id: int) -> str:
    """`name`, shortened if long, or the segment's number if no font has its characters."""
    text = name if len(name) <= _MAX_CHARACTERS else name[: _MAX_CHARACTERS - 3].rstrip() + "..."
    return text if _font_for(text, 12) else f"#{segment_id}"


@lru_cache(maxsize=256)
def _font_for(text: str, size: int) -> Font | None:
    """The first font with all characters of `text`: Pillow's default font or a system font."""
    letters = {letter for letter in text if not unicodedata.category(letter).startswith(("Z", "C"))}
    for make in (ImageFont.load_default, *_system_fonts()):
        font = make(size)
        if isinstance(font, ImageFont.FreeTypeFont) and all(_has_letter(font, letter) for letter in letters):
            return font
    return None


def _has_letter(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    # U+10FFFF is not a character, so every font draws its glyph for missing characters.
    missing, drawn = font.getmask("\U0010ffff"), font.getmask(letter)
    return missing.size != drawn.size or bytes(missing) != bytes(drawn)


@cache
def _system_fonts() -> tuple[Callable[[float], Font], ...]:
    names = list(_FONT_NAMES)
    # Located, not imported: importing matplotlib takes a second.
    package = importlib.util.find_spec("matplotlib")
    if package and package.origin:
        names.insert(0, str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"))
    found = []
    for name in names:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        found.append(_opener(name))
    return tuple(found)


def _opener(name: str) -> Callable[[float], Font]:
    return lambda size: ImageFont.truetype(name, size)
