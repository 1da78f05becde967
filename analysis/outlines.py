"""Rough hand-drawn outlines: a small ground truth for the notebooks, without labels of any data set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Outline:
    """A word and a polygon of points (x, y), relative to the photo's width and height (0..1)."""

    word: str
    points: tuple[tuple[float, float], ...]


# assets/photos/bus-street.jpg; pixels outside all outlines stay unlabelled.
BUS_STREET = (
    Outline("sky", (
        (0.08, 0.0), (0.84, 0.0), (0.80, 0.10), (0.62, 0.22), (0.55, 0.22),
        (0.42, 0.14), (0.35, 0.10), (0.25, 0.10), (0.22, 0.18), (0.10, 0.22),
    )),
    Outline("road", ((0.0, 0.72), (0.25, 0.66), (0.45, 0.70), (0.75, 0.62), (1.0, 0.72), (1.0, 1.0), (0.0, 1.0))),
    Outline("tree", ((0.30, 0.22), (0.42, 0.16), (0.55, 0.26), (0.58, 0.35), (0.28, 0.42), (0.24, 0.34))),
    Outline("building", ((0.66, 0.21), (0.82, 0.10), (0.99, 0.05), (0.99, 0.40), (0.66, 0.42))),
    Outline("bus", ((0.24, 0.42), (0.40, 0.37), (0.57, 0.34), (0.58, 0.52), (0.57, 0.60), (0.45, 0.64), (0.26, 0.57))),
)  # fmt: skip
# assets/photos/parked-car.jpg; the stairs are labelled as building.
PARKED_CAR = (
    Outline("building", (
        (0.22, 0.0), (1.0, 0.0), (1.0, 0.72), (0.83, 0.72), (0.58, 0.66), (0.55, 0.60), (0.54, 0.46), (0.52, 0.40),
        (0.50, 0.30), (0.43, 0.29), (0.42, 0.24), (0.30, 0.20), (0.22, 0.16),
    )),
    Outline("pavement", ((0.45, 0.77), (0.58, 0.71), (0.80, 0.75), (1.0, 0.79), (1.0, 1.0), (0.45, 1.0))),
    Outline("road", (
        (0.0, 0.80), (0.06, 0.82), (0.09, 0.88), (0.15, 0.86), (0.30, 0.84), (0.44, 0.87), (0.36, 0.94), (0.42, 1.0),
        (0.0, 1.0),
    )),
    Outline("car", (
        (0.0, 0.41), (0.05, 0.40), (0.17, 0.41), (0.19, 0.28), (0.24, 0.24), (0.32, 0.22), (0.42, 0.25), (0.42, 0.31),
        (0.37, 0.45), (0.41, 0.55), (0.43, 0.62), (0.435, 0.70), (0.41, 0.77), (0.40, 0.83), (0.35, 0.82),
        (0.15, 0.79), (0.13, 0.85), (0.09, 0.86), (0.06, 0.77), (0.0, 0.76),
    )),
    Outline("person", (
        (0.46, 0.32), (0.48, 0.30), (0.51, 0.32), (0.505, 0.40), (0.53, 0.44), (0.545, 0.49), (0.53, 0.52),
        (0.545, 0.61), (0.57, 0.70), (0.60, 0.84), (0.645, 0.86), (0.645, 0.885), (0.55, 0.89), (0.51, 0.75),
        (0.46, 0.62), (0.435, 0.47), (0.44, 0.41), (0.47, 0.38),
    )),
)  # fmt: skip


def outline_map(outlines: Sequence[Outline], size: Sequence[int]) -> tuple[np.ndarray, dict[int, str]]:
    """Outlines on a photo of `size` (height, width): segment map (H, W) int32, 0 = unlabelled, and each id's word.

    Later outlines cover earlier ones.
    """
    height, width = size[0], size[1]
    canvas = Image.new("I", (width, height))
    pen = ImageDraw.Draw(canvas)
    for number, outline in enumerate(outlines, start=1):
        pen.polygon([(x * width, y * height) for x, y in outline.points], fill=number)
    ids = np.asarray(canvas, dtype=np.int32)
    return ids, {i: outlines[i - 1].word for i in np.unique(ids).tolist() if i}
