"""Masks as pixel-exact polygons: along pixel edges with separate holes, or through pixel centres without holes.

Tools fill polygons in two ways. COCO's reader (pycocotools) treats coordinates as points in the plane, where pixel
(x, y) is the square from x to x + 1; `edge_polygons` follow the sides of these squares. YOLO's and LabelMe's readers
use OpenCV or Pillow, which treat coordinates as pixels and also fill the pixels of the outline; `centre_polygons` go
from pixel to pixel. In both cases, the tool's reader reproduces the mask exactly.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Readers either truncate or round coordinates; with an offset of a quarter, both give the same pixel.
_IN_PIXEL = 0.25
_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # dx, dy of sides directed right, down, left, up


class Polygon(NamedTuple):
    """One connected part: its outline (n, 2) as x, y, clockwise, and the outlines of its holes, counter-clockwise."""

    outline: np.ndarray
    holes: tuple[np.ndarray, ...] = ()


@dataclass(frozen=True)
class _Sides:
    """The n pixel sides around a mask, directed so that the mask is on the right, and the loops that they form.

    `pixels` (n, 2): x, y of each side's mask pixel; `directions` (n,): indices into `_STEPS`; `loops`: indices of the
    sides of each loop, in order.
    """

    mask: np.ndarray
    pixels: np.ndarray
    directions: np.ndarray
    loops: list[np.ndarray]

    @cached_property
    def starts(self) -> np.ndarray:
        """The x, y (n, 2) of the corner where each side begins."""
        return self.pixels + np.array([[0, 0], [1, 0], [1, 1], [0, 1]])[self.directions]

    @cached_property
    def tops(self) -> tuple[np.ndarray, np.ndarray]:
        """The indices of the top sides of pixels, and the flat indices of these pixels, ascending."""
        places = np.flatnonzero(self.directions == 0)
        return places, self.pixels[places, 1] * self.mask.shape[1] + self.pixels[places, 0]

    def is_hole(self, loop: np.ndarray) -> bool:
        """Whether the loop surrounds a hole: then its signed area is negative."""
        x, y = self.starts[loop].T
        return bool(np.dot(x, np.roll(y, -1)) < np.dot(y, np.roll(x, -1)))


def edge_polygons(mask: np.ndarray) -> list[Polygon]:
    """The parts of a mask (H, W) bool as polygons along pixel sides; coordinates in pixels, origin at its corner.

    Pixels that touch only at a corner belong to different parts. The polygons of a mask do not overlap.
    """
    sides = _sides(mask, diagonal=False)
    starts = sides.starts
    outlines: dict[int, np.ndarray] = {}
    holes: dict[int, list[np.ndarray]] = {}
    parts = _parts(mask)
    for loop in sides.loops:
        turns = sides.directions[loop] != np.roll(sides.directions[loop], 1)
        points = starts[loop[turns]]
        part = int(parts[tuple(sides.pixels[loop[0]][::-1])])
        if sides.is_hole(loop):
            holes.setdefault(part, []).append(points)
        else:
            outlines[part] = points
    return [Polygon(outline, tuple(holes.get(part, ()))) for part, outline in sorted(outlines.items())]


def centre_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The parts of a mask (H, W) bool as outlines (n, 2) x, y through pixel centres, for readers that also fill them.

    Each hole is joined to the outline above it by a cut of zero width, traversed down and up again (a "keyhole"), so
    that each part is one outline. Pixels that touch at a corner belong to the same part. Parts of one or two pixels
    repeat points, because readers require three.
    """
    sides = _sides(mask, diagonal=True)
    holes = [loop for loop in sides.loops if sides.is_hole(loop)]
    cuts = dict(_cut(sides, hole) for hole in holes)
    outlines = []
    for loop in sides.loops:
        if not sides.is_hole(loop):
            points = _without_repeats(sides.pixels[_walk(loop, cuts)])
            outlines.append(np.resize(points, (max(len(points), 3), 2)) + _IN_PIXEL)
    return outlines


def _parts(mask: np.ndarray) -> np.ndarray:
    """The part number of each pixel (H, W) int, 0 = outside; pixels that touch only at a corner are not connected."""
    from scipy import ndimage  # slow to import, and this module is needed for a list of the formats

    numbers: np.ndarray = ndimage.label(mask)[0]
    return numbers


def _sides(mask: np.ndarray, diagonal: bool) -> _Sides:
    """The sides and loops of a mask; with `diagonal`, pixels that touch only at a corner share a loop."""
    inside = np.pad(np.asarray(mask, dtype=bool), 1)
    here = inside[1:-1, 1:-1]
    beyond = (inside[:-2, 1:-1], inside[1:-1, 2:], inside[2:, 1:-1], inside[1:-1, :-2])  # above, right, below, left
    found = [np.argwhere(here & ~other)[:, ::-1] for other in beyond]
    pixels = np.concatenate(found)
    directions = np.repeat(np.arange(4), [len(places) for places in found])
    sides = _Sides(here, pixels, directions, [])
    following = _following(sides, mask.shape[1] + 1, diagonal).tolist()
    seen = bytearray(len(following))
    for first in range(len(following)):
        if seen[first]:
            continue
        loop, side = [], first
        while not seen[side]:
            seen[side] = 1
            loop.append(side)
            side = following[side]
        sides.loops.append(np.array(loop))
    return sides


def _following(sides: _Sides, corners: int, diagonal: bool) -> np.ndarray:
    """The index (n,) of the side that follows each side; where two sides begin at a corner, `diagonal` decides.

    With `diagonal`, the loop turns away from its own pixel, else towards it. There are `corners` corners in a row.
    """
    starts = sides.starts
    keys = (starts[:, 1] * corners + starts[:, 0]) * 4 + sides.directions
    order = np.argsort(keys)
    ends = starts + _STEPS[sides.directions]
    following = np.full(len(keys), -1)
    for turn in (-1, 0, 1) if diagonal else (1, 0, -1):
        wanted = (ends[:, 1] * corners + ends[:, 0]) * 4 + (sides.directions + turn) % 4
        place = np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)
        known = (following < 0) & (keys[order[place]] == wanted)
        following[known] = order[place[known]]
    return following


def _cut(sides: _Sides, hole: np.ndarray) -> tuple[int, np.ndarray]:
    """The side where the cut to a hole begins, and the hole's sides in the order from there, back to the start.

    The cut begins directly above the hole's top, on the outline or on a higher hole, so cuts cannot form a cycle.
    """
    below = hole[sides.directions[hole] == 2]  # bottom sides of pixels, with the hole below
    top = below[np.argmin(sides.pixels[below, 1])]
    x, y = sides.pixels[top]
    gaps = np.flatnonzero(~sides.mask[:y, x])
    above = int(gaps[-1]) + 1 if len(gaps) else 0
    places, numbers = sides.tops
    at = places[np.searchsorted(numbers, above * sides.mask.shape[1] + x)]
    return int(at), np.concatenate([np.roll(hole, -int(np.flatnonzero(hole == top)[0])), [top, at]])


def _walk(outline: np.ndarray, cuts: dict[int, np.ndarray]) -> list[int]:
    """The sides of an outline, with the sides of each hole inserted where its cut begins."""
    walked: list[int] = []
    stack = [iter(outline.tolist())]
    while stack:
        for side in stack[-1]:
            walked.append(side)
            if side in cuts:
                stack.append(iter(cuts.pop(side).tolist()))
                break
        else:
            stack.pop()
    return walked


def _without_repeats(points: np.ndarray) -> np.ndarray:
    """A closed outline without repeated points and without points in the middle of straight lines."""
    moved = (points != np.roll(points, 1, axis=0)).any(axis=1)
    if not moved.any():
        return points[:1]
    points = points[moved]
    step = np.sign(np.roll(points, -1, axis=0) - points)
    kept = (step != np.roll(step, 1, axis=0)).any(axis=1)
    return points[kept]
