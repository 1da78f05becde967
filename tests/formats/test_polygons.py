"""Polygons reproduce the original masks in the readers that tools use."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from eovseg.formats.polygons import centre_polygons, edge_polygons
from tests.formats.shapes import NASTY, noise

MASKS = NASTY | {f"noise {seed}": noise(seed) for seed in range(5)}


def filled_by_coco(outline: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return coco_mask.decode(coco_mask.frPyObjects([outline.ravel().tolist()], *size))[..., 0].astype(bool)


def filled_by_pillow(outline: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    picture = Image.new("L", size[::-1])
    ImageDraw.Draw(picture).polygon([tuple(point) for point in outline.tolist()], fill=1, outline=1)
    return np.array(picture, dtype=bool)


@pytest.mark.parametrize("name", MASKS)
def test_edge_polygons_reproduce_the_mask(name: str) -> None:
    mask = MASKS[name]
    back = np.zeros(mask.shape, dtype=int)
    for part in edge_polygons(mask):
        back += filled_by_coco(part.outline, mask.shape)
        for hole in part.holes:
            back -= filled_by_coco(hole, mask.shape)
    np.testing.assert_array_equal(back, mask)  # 0 and 1: parts do not overlap


@pytest.mark.parametrize("name", MASKS)
def test_centre_polygons_reproduce_the_mask(name: str) -> None:
    mask = MASKS[name]
    outlines = centre_polygons(mask)
    assert all(len(outline) >= 3 for outline in outlines)
    back = np.any([filled_by_pillow(outline, mask.shape) for outline in outlines], axis=0)
    np.testing.assert_array_equal(back, mask)


@pytest.mark.parametrize(
    ("name", "edges", "holes", "centres"),
    [
        ("one pixel", 1, 0, 1),
        ("diagonal neighbours", 3, 0, 1),
        ("ring in a ring", 2, 2, 2),
        ("two holes", 1, 2, 1),
        ("holes that touch at a corner", 1, 1, 1),
        ("parts far apart", 3, 0, 3),
    ],
)
def test_parts_and_holes(name: str, edges: int, holes: int, centres: int) -> None:
    parts = edge_polygons(NASTY[name])
    assert (len(parts), sum(len(part.holes) for part in parts)) == (edges, holes)
    assert len(centre_polygons(NASTY[name])) == centres


def test_straight_sides_have_two_points() -> None:
    mask = np.ones((4, 6), dtype=bool)
    (part,) = edge_polygons(mask)
    assert sorted(map(tuple, part.outline.tolist())) == [(0, 0), (0, 4), (6, 0), (6, 4)]
    (outline,) = centre_polygons(mask)
    assert sorted(map(tuple, np.floor(outline).tolist())) == [(0, 0), (0, 3), (5, 0), (5, 3)]


def test_an_empty_mask_has_no_polygons() -> None:
    assert edge_polygons(np.zeros((3, 4), dtype=bool)) == []
    assert centre_polygons(np.zeros((0, 0), dtype=bool)) == []
