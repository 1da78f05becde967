"""YOLO segmentation: `labels/NAME.txt` for each photo and one `data.yaml`.

Each line has a class and an outline with coordinates relative to width and height. The format supports neither holes
nor objects of several parts: a hole is joined to the outline by a cut of zero width, and every part is a line, so an
object of three parts is read as three objects. All segments are written, including stuff.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eovseg.formats.photo import PhotoFile, crop, printable
from eovseg.formats.polygons import centre_polygons

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto
    from eovseg.vocabulary import Vocabulary


def label_lines(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """The label file of one photo."""
    height, width = result.segment_map.shape
    lines = []
    for index, segment in enumerate(result.segments):
        mask, left, top = crop(result, index)
        for outline in centre_polygons(mask):
            shares = (outline + np.array([left, top])) / (width, height)
            lines.append(f"{segment.class_id} " + " ".join(f"{share:.7f}" for share in shares.ravel()) + "\n")
    return "".join(lines).encode("ascii")


def data_yaml(vocabulary: "Vocabulary") -> bytes:
    """The names of the classes, and the folder of the photos: `images`, beside `labels`."""
    # Written without a YAML library: JSON strings are valid YAML.
    names = (
        f"  {number}: {json.dumps(printable(e.label), ensure_ascii=False)}\n"
        for number, e in enumerate(vocabulary.classes)
    )
    return "".join(["train: images\n", "val: images\n", "names:\n", *names]).encode("utf-8")
