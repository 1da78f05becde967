"""A small synthetic data set: coloured shapes on two textures, written as a folder in COCO's panoptic format."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from eovseg.data.panoptic_folder import write_segment_ids
from eovseg.vocabulary import Vocabulary

SHAPE_WORDS = Vocabulary.parse("circle: thing; square: thing; triangle: thing; floor: stuff; wall: stuff")
_SHAPE_COLOURS = ((214, 60, 50), (240, 190, 40), (60, 90, 200))
_FLOOR, _WALL = (150, 120, 90), (190, 200, 205)


def draw_shapes(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """A picture (size, size, 3) uint8, its segment map (size, size) int32, and the class in `SHAPE_WORDS` of each id.

    A wall above, a floor below, and two to four shapes: red circles, yellow squares, blue triangles.
    """
    horizon = int(size * rng.uniform(0.35, 0.65))
    ids = np.full((size, size), 1, np.int32)
    ids[horizon:] = 2
    picture = np.where((ids == 2)[..., None], _FLOOR, _WALL).astype(np.uint8)
    classes = {1: 4, 2: 3}
    canvas = Image.fromarray(picture)
    for number in range(3, 3 + int(rng.integers(2, 5))):
        kind = int(rng.integers(3))
        radius = size * rng.uniform(0.1, 0.2)
        x, y = rng.uniform(radius, size - radius, 2)
        mask = Image.new("1", (size, size))
        for image, fill in ((canvas, _SHAPE_COLOURS[kind]), (mask, 1)):
            _draw(ImageDraw.Draw(image), kind, float(x), float(y), float(radius), fill)
        ids[np.asarray(mask)] = number
        classes[number] = kind
    present = {int(i) for i in np.unique(ids)}
    noise = rng.normal(0, 12, (size, size, 1)) * np.where(ids == 2, 1.5, 0.7)[..., None]
    smooth = np.asarray(canvas.filter(ImageFilter.GaussianBlur(0.6)), np.float64)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8), ids, {i: c for i, c in classes.items() if i in present}


def write_shapes(root: Path, photos: int, size: int = 128, seed: int = 0) -> Path:
    """Writes `photos` drawn pictures as a panoptic folder at `root`; deterministic for a given seed."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "panoptic").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(1, photos + 1):
        picture, ids, classes = draw_shapes(size, np.random.default_rng([seed, number]))
        name = f"shapes-{number:03d}.png"
        Image.fromarray(picture).save(root / "images" / name)
        write_segment_ids(root / "panoptic" / name, ids)
        images.append({"id": number, "file_name": name, "width": size, "height": size})
        segments = [
            {"id": i, "category_id": class_index + 1, "iscrowd": 0, "area": int((ids == i).sum())}
            for i, class_index in classes.items()
        ]
        annotations.append({"image_id": number, "file_name": name, "segments_info": segments})
    categories = [
        {"id": index + 1, "name": entry.label, "isthing": int(entry.is_thing)}
        for index, entry in enumerate(SHAPE_WORDS.classes)
    ]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "panoptic.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def _draw(
    pen: ImageDraw.ImageDraw, kind: int, x: float, y: float, radius: float, fill: int | tuple[int, int, int]
) -> None:
    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == 0:
        pen.ellipse(box, fill=fill)
    elif kind == 1:
        pen.rectangle(box, fill=fill)
    else:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=fill)
