"""LabelMe: one JSON file per photo with one outline per part; the parts of a segment share a `group_id`.

LabelMe has no holes, so each is joined to the outline by a cut of zero width.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.formats.photo import PhotoFile, crop, json_bytes
from eovseg.formats.polygons import centre_polygons

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto

_VERSION = "5.5.0"  # version of the file format; later releases can read it


def document(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """The file of one photo; it refers to the photo by its path relative to the folder of `path`."""
    height, width = result.segment_map.shape
    shapes: list[dict[str, Any]] = []
    for index, segment in enumerate(result.segments):
        mask, left, top = crop(result, index)
        outlines = centre_polygons(mask)
        shapes += (
            {
                "label": segment.label,
                "points": (outline + np.array([left, top])).tolist(),
                "group_id": index + 1 if len(outlines) > 1 else None,
                "description": f"score {segment.score:.3f}",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for outline in outlines
        )
    return json_bytes(
        {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": photo.relative_path(path.parent),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
    )
