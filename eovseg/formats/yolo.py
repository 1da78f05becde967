"""YOLO segmentation: `labels/NAME.txt` a photo and `data.yaml` for all of them.

A line is a class and an outline in shares of width and height. The format has neither holes nor objects of several
parts: a hole is joined to its outline by a cut of no width, and each part is a line, so an object in three parts comes
back as three. Every segment is written, stuff too.
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
    """The classes, and where the photos belong: in `images` beside `labels`."""
    # A string of JSON is one of YAML; written by hand, so that no YAML library is needed.
    names = (
        f"  {number}: {json.dumps(printable(e.label), ensure_ascii=False)}\n"
        for number, e in enumerate(vocabulary.classes)
    )
    return "".join(["train: images\n", "val: images\n", "names:\n", *names]).encode("utf-8")
