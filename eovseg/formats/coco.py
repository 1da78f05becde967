"""COCO's two documents: instances (polygons, or run lengths for segments with holes) and panoptic (with PNGs).

Categories are numbered from 1, as in COCO and as CVAT requires. Every segment is an annotation, including stuff, which
is marked by its category's `isthing`. Annotations contain the segment's score, which COCO's readers ignore.
"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.formats.photo import PhotoFile, crop, crop_mask, json_bytes, runs
from eovseg.formats.polygons import edge_polygons

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto
    from eovseg.vocabulary import Vocabulary

INSTANCES, PANOPTIC = "-coco-instances.json", "-coco-panoptic.json"  # endings of the file names


def header(vocabulary: "Vocabulary") -> dict[str, Any]:
    """The parts of a document that do not depend on photos."""
    return {
        "info": {"description": "EOV-Seg result", "vocabulary": vocabulary.to_text()},
        "licenses": [],
        "categories": [
            {
                "id": number,
                "name": entry.label,
                "supercategory": "thing" if entry.is_thing else "stuff",
                "isthing": int(entry.is_thing),
            }
            for number, entry in enumerate(vocabulary.classes, start=1)
        ],
    }


def instances(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """The instances document of one photo, with one annotation per segment."""
    annotations: list[dict[str, Any]] = []
    for index, segment in enumerate(result.segments):
        mask, left, top = crop(result, index)
        if not mask.size:
            continue
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": segment.class_id + 1,
                "segmentation": _segmentation(mask, left, top, result.segment_map.shape),
                "area": int(mask.sum()),
                "bbox": [left, top, mask.shape[1], mask.shape[0]],
                "iscrowd": 0,
                "score": segment.score,
            }
        )
    return json_bytes({**header(result.vocabulary), "images": [_image(result, photo)], "annotations": annotations})


def panoptic(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """The panoptic document of one photo; its segment map is the PNG that `Result.write` puts beside it."""
    infos = []
    for segment in result.segments:
        x0, y0, x1, y1 = segment.box
        mask, left, top = crop_mask(result.segment_map[y0:y1, x0:x1] == segment.id, x0, y0)
        if not mask.size:  # an instance that is completely covered by others
            continue
        infos.append(
            {
                "id": segment.id,
                "category_id": segment.class_id + 1,
                "area": int(mask.sum()),
                "bbox": [left, top, mask.shape[1], mask.shape[0]],
                "iscrowd": 0,
                "score": segment.score,
            }
        )
    annotation = {
        "image_id": 1,
        "file_name": f"{path.name.removesuffix(PANOPTIC)}-panoptic.png",
        "segments_info": infos,
    }
    return json_bytes({**header(result.vocabulary), "images": [_image(result, photo)], "annotations": [annotation]})


def _image(result: "SegmentedPhoto", photo: PhotoFile) -> dict[str, Any]:
    height, width = result.segment_map.shape
    return {"id": 1, "file_name": PurePosixPath(photo.name).as_posix(), "width": width, "height": height}


def _segmentation(mask: np.ndarray, left: int, top: int, size: tuple[int, ...]) -> list[list[int]] | dict[str, Any]:
    """Polygons or, if there are holes, uncompressed run lengths in column order, as in COCO's annotation files."""
    parts = edge_polygons(mask)
    if not any(part.holes for part in parts):
        return [(part.outline + np.array([left, top])).ravel().tolist() for part in parts]
    whole = np.zeros(size[::-1], dtype=bool)
    whole[left : left + mask.shape[1], top : top + mask.shape[0]] = mask.T
    return {"size": list(size), "counts": runs(whole)}
