"""COCO instance annotations: one JSON with polygons or run lengths for each object, which may overlap each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from eovseg.data.class_table import ClassTable
from eovseg.data.label_files import read_json
from eovseg.data.labelled_folder import InstanceMask, LabelledFolder, Measure, Photo, SegmentInfo
from eovseg.errors import DataError


class InstanceFile:
    """An instances JSON, checked when opened; masks are drawn when a photo is loaded.

    Raises `DataError`, naming the file, for broken JSON, unknown categories and photos, and duplicate ids.
    """

    def __init__(self, path: Path, table: ClassTable) -> None:
        self.path = path
        document = read_json(path)
        try:
            self.categories = table.only({int(record["id"]) for record in document["categories"]})
            self.images = self._by_id(document["images"], "image")
            self._annotations: dict[int, list[Mapping[str, Any]]] = {}
            for number, annotation in self._by_id(document["annotations"], "annotation").items():
                image_id = int(annotation["image_id"])
                if image_id not in self.images:
                    raise DataError(f"{path} has annotation {number} for image id {image_id}, which it does not list.")
                if int(annotation["category_id"]) not in self.categories:
                    raise DataError(
                        f"{path} uses unknown category id {annotation['category_id']} "
                        f"in {self.images[image_id]['file_name']}."
                    )
                self._annotations.setdefault(image_id, []).append(annotation)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path} is not COCO instances JSON ({type(error).__name__}: {error}); it needs `images`, "
                "`annotations` with `segmentation`, and `categories`."
            ) from error

    def _by_id(self, records: list[Mapping[str, Any]], kind: str) -> dict[int, Mapping[str, Any]]:
        found: dict[int, Mapping[str, Any]] = {}
        for record in records:
            number = int(record["id"])
            if number in found:
                raise DataError(f"{self.path} lists {kind} id {number} twice.")
            found[number] = record
        return found

    def load(self, image_id: int, photo: Photo) -> tuple[InstanceMask, ...]:
        """The photo's objects in the file's order; raises `DataError` for a mask that cannot be drawn."""
        return tuple(self._draw(annotation, photo) for annotation in self._annotations.get(image_id, ()))

    def _draw(self, annotation: Mapping[str, Any], photo: Photo) -> InstanceMask:
        size = photo.height, photo.width
        try:
            shape = annotation["segmentation"]
            if isinstance(shape, list):
                encoded = rle.merge(rle.frPyObjects(shape, *size))
            else:
                encoded = rle.frPyObjects(shape, *size) if isinstance(shape["counts"], list) else shape
            if tuple(encoded["size"]) != size:
                height, width = encoded["size"]
                raise ValueError(f"its mask is {width}x{height}, the photo {photo.width}x{photo.height}")
            mask = rle.decode(encoded).astype(bool)
            crowd, area = bool(annotation.get("iscrowd", 0)), float(annotation.get("area", mask.sum()))
            return InstanceMask(mask, int(annotation["category_id"]), crowd, area)
        except Exception as error:  # pycocotools raises bare Exceptions as well
            raise DataError(
                f"{self.path}: annotation {annotation['id']} of {photo.file_name} cannot be drawn ({error})."
            ) from error


class InstanceFolder(LabelledFolder):
    """Photos below `images` with the objects of one instances JSON; allows AP only.

    Raises `DataError` as `InstanceFile` does, and for a missing photo.
    """

    measures: tuple[Measure, ...] = ("instance",)

    def __init__(self, root: Path, name: str, table: ClassTable, images: Path, annotations: Path) -> None:
        self.root, self.name, self.table, self.images = root, name, table, images
        self.file = InstanceFile(annotations, table)
        self.categories = self.file.categories
        self.photos = tuple(
            Photo(number, str(r["file_name"]), int(r["width"]), int(r["height"]), (), "", coco_id=number)
            for number, r in self.file.images.items()
        )
        if not self.photos:
            raise DataError(f"{annotations} lists no photos.")
        for photo in self.photos:
            if not (images / photo.file_name).is_file():
                raise DataError(f"{images / photo.file_name} is missing, {annotations} lists it.")

    def load_instances(self, photo: Photo) -> tuple[InstanceMask, ...]:
        """The photo's objects with their whole masks."""
        return self.file.load(photo.image_id, photo)

    def load_segments(self, photo: Photo) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
        """The objects painted into one map, crowds first and then from large to small, so that small ones show."""
        segment_map = np.zeros((photo.height, photo.width), dtype=np.int32)
        segments = []
        ordered = sorted(self.load_instances(photo), key=lambda one: (not one.is_crowd, -one.area))
        for number, one in enumerate(ordered, 1):
            segment_map[one.mask] = number
            segments.append(SegmentInfo(number, one.category_id, one.is_crowd, int(one.area)))
        return segment_map, tuple(segments)
