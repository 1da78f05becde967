"""Rasterises the `segmentation` of one object in COCO's JSON: polygons or run lengths, including malformed ones."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools import mask as rle

_LEAST_NUMBERS = 6  # three points


def is_empty(shape: Any) -> bool:
    """Whether a `segmentation` is empty: null, no polygon, or polygons of fewer than three points."""
    return shape is None or (isinstance(shape, list) and not _parts(shape))


def drawn_mask(shape: Any, height: int, width: int) -> np.ndarray:
    """The mask (height, width) bool of a `segmentation`, all False if it is empty.

    A flat list of numbers is one polygon; several polygons or run lengths are merged; polygons of fewer than three
    points are ignored. Raises `ValueError` describing anything else.
    """
    if isinstance(shape, Mapping):
        return _from_runs(shape, height, width)
    mask = np.zeros((height, width), dtype=bool)
    if shape is None:
        return mask
    if not isinstance(shape, list):
        raise ValueError(f"its segmentation is of type {type(shape).__name__}, not a list of polygons or run lengths")
    polygons = []
    for part in _parts(shape):
        if isinstance(part, Mapping):
            mask |= _from_runs(part, height, width)
        else:
            polygons.append(_checked(part, height, width))
    if polygons:
        mask |= rle.decode(rle.merge(rle.frPyObjects(polygons, height, width))).astype(bool)
    return mask


def _parts(shape: list[Any]) -> list[Any]:
    """The run lengths and polygons of at least three points; anything else is kept for `_checked` to report."""
    flat = bool(shape) and all(type(value) in (int, float) for value in shape)
    given = [shape] if flat else [part for part in shape if part is not None]
    return [part for part in given if not isinstance(part, list) or len(part) >= _LEAST_NUMBERS]


def _checked(polygon: Any, height: int, width: int) -> list[float]:
    if not isinstance(polygon, list) or not all(type(value) in (int, float) for value in polygon):
        raise ValueError("a polygon is not a list of numbers x, y, x, y, …")
    if len(polygon) % 2:
        raise ValueError(f"a polygon has {len(polygon)} numbers, but needs two per point")
    # Coordinates this far outside are not rounding errors, and rasterising them could exhaust the memory.
    for values, side in ((polygon[::2], width), (polygon[1::2], height)):
        wrong = next((value for value in values if not -side <= value <= 2 * side), None)
        if wrong is not None:
            shown = f"{wrong:g}" if isinstance(wrong, float) and not math.isfinite(wrong) else str(wrong)[:20]
            raise ValueError(f"a polygon has the coordinate {shown}, far outside the {width}x{height} photo")
    return polygon


def _from_runs(shape: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """Run lengths {"size": [height, width], "counts": …} in column-major order, starting with background pixels."""
    size, counts = shape.get("size"), shape.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise ValueError("its run lengths have no valid size [height, width]")
    if size != [height, width]:
        raise ValueError(f"its mask is {size[1]}x{size[0]}, but the photo is {width}x{height}")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        raise ValueError("its run lengths are neither non-negative integers nor COCO's compressed text")
    if sum(counts) != height * width:
        raise ValueError(f"its run lengths cover {sum(counts):,} pixels, but the photo has {height * width:,}")
    inside = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, counts).reshape(width, height).T)


def _unpacked(text: str) -> list[int]:
    """Decodes COCO's compressed run lengths: five bits per character, delta-coded from the third run on."""
    counts: list[int] = []
    value, bits = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 60:
            raise ValueError("its compressed run lengths are damaged")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << bits
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, bits = 0, 0
    if bits:
        raise ValueError("its compressed run lengths are truncated")
    return counts
