"""Masks that are difficult for polygons, and results made of masks."""

import numpy as np

from eovseg.formats.photo import crop_mask
from eovseg.instance_masks import InstanceMasks
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.parse("cat; blue & sky: stuff; Straße; unseen")

_DRAWN = {
    "one pixel": ["....", ".#..", "...."],
    "one pixel in the corner": ["...", "...", "..#"],
    "two pixels": ["....", ".##.", "...."],
    "a line along the border": ["####", "....", "...."],
    "diagonal neighbours": ["#...", ".#..", "..#."],
    "other diagonal": ["..#", ".#.", "#.."],
    "ring": ["#####", "#...#", "#...#", "#####"],
    "thin ring": ["###", "#.#", "###"],
    "ring in a ring": ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"],
    "two holes": ["########", "#..##.##", "#..##.##", "########"],
    "holes that touch at a corner": ["#####", "##.##", "#.###", "#####"],
    "a hole open at a corner": [".####", "#.###", "##.##", "#####"],
    "parts far apart": ["##......", "##......", ".......#", ".....#.#"],
    "checkers": ["#.#.#", ".#.#.", "#.#.#"],
    "everything": ["####", "####"],
    "all but one": ["####", "#.##", "####"],
}
NASTY = {name: np.array([[char == "#" for char in row] for row in rows]) for name, rows in _DRAWN.items()}


def noise(seed: int, height: int = 37, width: int = 53) -> np.ndarray:
    """A mask (H, W) bool with many single pixels and holes."""
    return np.random.default_rng(seed).random((height, width)) < 0.3 + 0.1 * (seed % 5)


def result_of(masks: list[np.ndarray], name: str = "photo.jpg", overlapping: bool = False) -> Result:
    """A result whose segments are `masks` (H, W) bool; they may only overlap if `overlapping`."""
    height, width = masks[0].shape
    segments, ids = [], np.zeros((height, width), dtype=np.int32)
    for number, mask in enumerate(masks, start=1):
        entry = VOCABULARY.classes[(number - 1) % 3]
        cut, x, y = crop_mask(mask)
        box = (x, y, x + cut.shape[1], y + cut.shape[0])
        ids[mask & (ids == 0)] = number
        segments.append(
            Segment(number, (number - 1) % 3, entry.label, entry.is_thing, 0.9, 0.8, 0.7, int(mask.sum()), box)
        )
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    kept = InstanceMasks.of(np.stack(masks)) if overlapping else None
    task = "instance" if overlapping else "panoptic"
    return Result(image, ids, tuple(segments), VOCABULARY, task, name=name, instance_masks=kept)


def with_its_rest(mask: np.ndarray) -> Result:
    """A result with the mask and, unless it covers everything, the rest."""
    return result_of([mask] if mask.all() else [mask, ~mask])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((a & b).sum() / (a | b).sum())
