"""Photos and a fake network, to test everything around it."""

from pathlib import Path

import numpy as np
from PIL import Image

from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.parse("light; dark: stuff")


def threshold(pixels: np.ndarray) -> Result:
    """Two segments by brightness, so that each photo has a different result."""
    ids = np.where(pixels.mean(-1) > 127, 1, 2).astype(np.int32)
    segments = []
    for number, label in ((1, "light"), (2, "dark")):
        area = int((ids == number).sum())
        if area:
            box = (0, 0, pixels.shape[1], pixels.shape[0])
            segments.append(Segment(number, number - 1, label, number == 1, 0.9, 0.8, 0.7, area, box))
    return Result(pixels, ids, tuple(segments), VOCABULARY)


def write_photos(folder: Path, names: list[str], size: tuple[int, int] = (24, 16)) -> None:
    """Noise pictures of `size` (width, height), each different."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
