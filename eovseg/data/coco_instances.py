"""COCO instance annotations: one JSON file with polygons or run lengths for each object; objects may overlap."""

import math
from pathlib import Path

import numpy as np

from eovseg.data.class_table import Category, ClassTable
from eovseg.data.coco_masks import drawn_mask, is_empty
from eovseg.data.entries import LARGEST_KEY, Entry, is_file, named_file, top_level
from eovseg.data.label_files import read_json
from eovseg.data.labelled_folder import InstanceMask, LabelledFolder, Measure, Photo, SegmentInfo
from eovseg.errors import DataError

OWN_NAME = "coco-instances-folder"


class InstanceFile:
    """An instances JSON file, validated when opened; masks are rasterised when a photo is loaded.

    Its categories are those of `table` if given, otherwise its own. Objects without pixels are skipped; `without_mask`
    maps their annotation ids to photos. Raises `DataError`, naming the file and the entry, for broken JSON, unknown
    categories and photos, duplicate ids, categories that conflict with `table`, and annotations without any mask.
    """

    def __init__(self, path: Path, table: ClassTable | None = None) -> None:
        self.path = path
        top = top_level(path, read_json(path), "COCO instances", ("images", "annotations", "categories"))
        categories = self._categories(top)
        self.table = table or ClassTable.of_categories(categories, path)
        foreign = table.foreign(categories) if table else []
        if foreign:
            listed = ", ".join(f"{category.id} {category.name}" for category in foreign[:3])
            raise DataError(
                f"{path} has categories of its own ({listed}), whose ids mean other classes in COCO. Open it as the "
                f"data set {OWN_NAME}."
            )
        self.categories = self.table.only(set(categories))
        self.images = self._by_id(top, "images", "image")
        self.without_mask: dict[int, str] = {}
        self._annotations: dict[int, list[Entry]] = {}
        for number, annotation in self._by_id(top, "annotations", "annotation").items():
            image_id = annotation.integer("image_id", maximum=LARGEST_KEY)
            if image_id not in self.images:
                raise DataError(f"{path} has annotation {number} for image id {image_id}, which it does not list.")
            annotation.inside = self.images[image_id].text("file_name")
            category_id = annotation.integer("category_id")
            if category_id not in self.categories:
                raise DataError(f"{path} uses unknown category id {category_id} in {annotation.inside}.")
            if is_empty(annotation.get("segmentation")):
                self.without_mask[number] = annotation.inside
            else:
                self._annotations.setdefault(image_id, []).append(annotation)
        if self.without_mask and not self._annotations:
            raise DataError(
                f"{path} has no masks, because the segmentation of all its {len(self.without_mask):,} annotations is "
                "missing or empty. Export polygons or run lengths, not only boxes."
            )

    def _categories(self, top: Entry) -> dict[int, Category]:
        return {
            number: Category.read(entry, True) for number, entry in self._by_id(top, "categories", "category").items()
        }

    def _by_id(self, top: Entry, key: str, kind: str) -> dict[int, Entry]:
        found: dict[int, Entry] = {}
        for entry in top.entries(key, kind):
            number = entry.integer("id", maximum=LARGEST_KEY)
            if number in found:
                raise DataError(f"{self.path} lists {kind} id {number} twice.")
            found[number] = entry
        return found

    def load(self, image_id: int, photo: Photo) -> tuple[InstanceMask, ...]:
        """The photo's objects in file order; raises `DataError` for a mask that cannot be rasterised."""
        drawn = (self._draw(annotation, photo) for annotation in self._annotations.get(image_id, ()))
        return tuple(one for one in drawn if one)

    def _draw(self, annotation: Entry, photo: Photo) -> InstanceMask | None:
        """One object, or None if it has no pixels; its area is the stated one, or else that of the mask."""
        number = annotation.integer("id", maximum=LARGEST_KEY)
        try:
            mask = drawn_mask(annotation.get("segmentation"), photo.height, photo.width)
            area = annotation.get("area")
            if area is not None and not (type(area) in (int, float) and math.isfinite(area) and area >= 0):
                raise ValueError(f"its area is {str(area)[:40]!r}, but must be a non-negative number")
        except (ValueError, OverflowError) as error:
            raise DataError(f"{self.path}: annotation {number} of {photo.file_name} is invalid: {error}.") from error
        if not mask.any():
            self.without_mask[number] = photo.file_name
            return None
        crowd = annotation.flag("iscrowd", False)
        return InstanceMask(mask, annotation.integer("category_id"), crowd, float(mask.sum() if area is None else area))


class InstanceFolder(LabelledFolder):
    """Photos below `images` with the objects of one instances JSON file, in the classes of `table` or its own.

    Supports AP only. Raises the `DataError`s of `InstanceFile`, and one for a missing photo.
    """

    measures: tuple[Measure, ...] = ("instance",)

    def __init__(self, root: Path, name: str, table: ClassTable | None, images: Path, annotations: Path) -> None:
        self.root, self.name, self.images = root, name, images
        self.file = InstanceFile(annotations, table)
        self.table, self.categories = self.file.table, self.file.categories
        self.instances_without_mask = self.file.without_mask
        self.photos = tuple(
            Photo(number, named_file(images, entry.text("file_name")), *entry.size(), (), "", coco_id=entry.coco_id())
            for number, entry in self.file.images.items()
        )
        if not self.photos:
            raise DataError(f"{annotations} lists no photos.")
        for photo in self.photos:
            if not is_file(images / photo.file_name):
                raise DataError(f"{images / photo.file_name} is missing, but {annotations} lists it.")

    def load_instances(self, photo: Photo) -> tuple[InstanceMask, ...]:
        """The photo's objects with their complete masks."""
        return self.file.load(photo.image_id, photo)

    def load_segments(self, photo: Photo) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
        """The objects painted into one map, crowds first, then from large to small, so that small ones stay visible."""
        segment_map = np.zeros((photo.height, photo.width), dtype=np.int32)
        segments = []
        ordered = sorted(self.load_instances(photo), key=lambda one: (not one.is_crowd, -int(one.mask.sum())))
        for number, one in enumerate(ordered, 1):
            segment_map[one.mask] = number
            segments.append(SegmentInfo(number, one.category_id, one.is_crowd, one.area))
        return segment_map, tuple(segments)
