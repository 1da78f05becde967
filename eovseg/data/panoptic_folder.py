"""Folders in COCO's panoptic format: photos, id PNGs (id = R + 256 G + 65536 B, 0 = unlabelled) and one JSON file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.colours import id_to_rgb, rgb_to_id
from eovseg.data.class_table import Category, ClassTable
from eovseg.data.coco_instances import InstanceFile
from eovseg.data.entries import LARGEST_KEY, LARGEST_SEGMENT_ID, Entry, is_file, named_file, top_level
from eovseg.data.index_masks import ClassMaps
from eovseg.data.label_files import check_size, read_colours, read_json, read_rgb
from eovseg.data.labelled_folder import InstanceMask, LabelledFolder, Photo, SegmentInfo
from eovseg.errors import DataError

__all__ = ["Category", "PanopticFolder", "Photo", "SegmentInfo", "read_rgb", "read_segment_ids", "write_segment_ids"]

# A file is rejected as having different ids if more than these fractions of its classes differ from the data set in
# being thing or stuff, or have a name without a word in common with the data set's.
_DIFFERENT_KINDS = 0.1
FOREIGN_NAMES = 1 / 3


class PanopticFolder(LabelledFolder):
    """The photos and segments of one folder, validated when opened.

    `categories` maps the source's ids to classes. A known data set passes its class `table` (which overrides the names
    in the JSON), `class_maps` and `instances` if mIoU and AP use separate label files, and `photo_path` if the JSON
    does not contain the photos' paths below `images`. A photo without segments in the JSON and in its PNG is skipped
    and listed in `unlabelled`.
    Raises `DataError`, naming the file, for missing files, broken JSON, unknown categories and duplicate ids.
    """

    def __init__(
        self,
        root: Path | str,
        annotations: Path | str | None = None,
        images: Path | str | None = None,
        panoptic: Path | str | None = None,
        *,
        name: str | None = None,
        table: ClassTable | None = None,
        class_maps: ClassMaps | None = None,
        instances: InstanceFile | None = None,
        photo_path: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> None:
        self.root = Path(root)
        self.name = name or self.root.name
        self.annotations = Path(annotations) if annotations else self.root / "panoptic.json"
        self.images = Path(images) if images else self.root / "images"
        self.panoptic = Path(panoptic) if panoptic else self.root / "panoptic"
        missing = [path.name for path in (self.annotations, self.images, self.panoptic) if not path.exists()]
        if missing and annotations is images is panoptic is None:
            raise DataError(
                f"{self.root} has no {', '.join(missing)}; a COCO panoptic folder has images/, panoptic/ and "
                "panoptic.json, not divided into train and val."
            )
        self.table = table
        self._class_maps, self._instances, self._photo_path = class_maps, instances, photo_path
        if instances:
            self.instances_without_mask = instances.without_mask
        lists = ("images", "annotations", "categories")
        top = top_level(self.annotations, read_json(self.annotations), "COCO panoptic", lists)
        self.semantic_only = top.flag("semantic_only", False)
        if top.get("exhaustive_category_ids") is not None:
            self.exhaustive_category_ids = frozenset(top.integers("exhaustive_category_ids"))
        self.categories = self._parse_categories(top.entries("categories", "category"))
        self.photos = self._parse_photos(top.entries("images", "image"), top.entries("annotations", "annotation"))
        if self.semantic_only:
            self.measures = ("semantic",)

    def load_segments(self, photo: Photo) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
        """The photo's segment ids and segments; raises the errors of `load_segment_map`."""
        return self.load_segment_map(photo), photo.segments

    def load_segment_map(self, photo: Photo) -> np.ndarray:
        """The photo's segment ids, (H, W) int32, 0 = unlabelled; raises `DataError` for ids missing from the JSON."""
        path = self.panoptic / photo.panoptic_file_name
        segment_map = read_segment_ids(path)
        check_size(path, segment_map, photo.width, photo.height)
        listed = np.sort(np.array([0] + [segment.id for segment in photo.segments], dtype=np.int32))
        nearest = listed[np.searchsorted(listed[:-1], segment_map)]
        unknown = segment_map[nearest != segment_map]
        if unknown.size:
            raise DataError(
                f"{path} has segment ids that {self.annotations} does not list: {np.unique(unknown)[:5].tolist()}."
            )
        return segment_map

    def load_class_map(self, photo: Photo) -> np.ndarray | None:
        """Category ids from the data set's separate semantic label files, if any."""
        return self._class_maps.load(photo) if self._class_maps else None

    def load_instances(self, photo: Photo) -> tuple[InstanceMask, ...] | None:
        """Instance masks from the data set's separate instance annotations, if any."""
        return self._instances.load(photo.image_id, photo) if self._instances else None

    def _parse_categories(self, entries: Sequence[Entry]) -> dict[int, Category]:
        categories: dict[int, Category] = {}
        for entry in entries:
            category = Category.read(entry)
            if category.id in categories:
                raise DataError(f"{self.annotations} lists category id {category.id} twice.")
            categories[category.id] = category
        if self.table is None:
            for category in categories.values():
                category.as_class(self.annotations)
            return categories
        shared = self.table.only(set(categories))
        kinds = [categories[i] for i, category in shared.items() if category.is_thing != categories[i].is_thing]
        foreign = self.table.foreign(categories)
        if not shared or len(kinds) > _DIFFERENT_KINDS * len(shared) or len(foreign) > FOREIGN_NAMES * len(shared):
            listed = ", ".join(f"{one.id} {one.name}" for one in [*kinds, *foreign, *categories.values()][:3])
            raise DataError(
                f"{self.annotations} has different category ids from {self.name} ({listed}). Use the file written by "
                "the data set's own tools, or open a file with custom categories as panoptic-folder."
            )
        return self.table.categories

    def _parse_photos(self, images: Sequence[Entry], annotations: Sequence[Entry]) -> tuple[Photo, ...]:
        by_image: dict[str, Entry] = {}
        for annotation in annotations:
            key = annotation.key("image_id")
            if key in by_image:
                raise DataError(f"{self.annotations} annotates image id {key} twice.")
            by_image[key] = annotation
        photos: dict[str, Photo | None] = {}
        for number, entry in enumerate(images, 1):
            key = entry.key("id")
            if key in photos:
                raise DataError(f"{self.annotations} lists image id {key} twice.")
            if key not in by_image:
                raise DataError(f"{self.annotations} has no annotation for {entry.text('file_name')}.")
            photos[key] = self._parse_photo(number, entry, by_image[key])
        orphans = by_image.keys() - photos.keys()
        if orphans:
            listed = ", ".join(sorted(orphans)[:5])
            raise DataError(f"{self.annotations} annotates image ids that it does not list: [{listed[:200]}].")
        labelled = tuple(photo for photo in photos.values() if photo)
        if not labelled:
            raise DataError(f"{self.annotations} lists no photos{' with labels' if photos else ''}.")
        return labelled

    def _parse_photo(self, number: int, entry: Entry, annotation: Entry) -> Photo | None:
        """The photo, or None if it has no labels; `number` is its id if the JSON's is not an integer."""
        name = self._photo_path(entry.record) if self._photo_path else entry.text("file_name")
        segments = self._parse_segments(annotation, name)
        width, height = entry.size()
        photo = Photo(
            image_id=entry.integer("id", maximum=LARGEST_KEY) if isinstance(entry.get("id"), int) else number,
            file_name=named_file(self.images, name),
            width=width,
            height=height,
            segments=segments,
            panoptic_file_name=named_file(self.panoptic, annotation.text("file_name")),
            negative_category_ids=entry.integers("neg_category_ids"),
            not_exhaustive_category_ids=entry.integers("not_exhaustive_category_ids"),
            coco_id=entry.coco_id(),
        )
        for path in (self.images / photo.file_name, self.panoptic / photo.panoptic_file_name):
            if not is_file(path):
                raise DataError(f"{path} is missing, but {self.annotations} lists it.")
        if segments:
            return photo
        if read_segment_ids(self.panoptic / photo.panoptic_file_name).any():
            raise DataError(f"{self.annotations} lists no segments for {name}, but its PNG has some.")
        self.unlabelled += (photo.file_name,)
        return None

    def _parse_segments(self, annotation: Entry, file_name: str) -> tuple[SegmentInfo, ...]:
        segments: dict[int, SegmentInfo] = {}
        for entry in annotation.entries("segments_info", "segment", file_name):
            number, category_id = entry.integer("id", 1, LARGEST_SEGMENT_ID), entry.integer("category_id")
            if number in segments:
                raise DataError(f"{self.annotations} lists a segment id of {file_name} twice.")
            if category_id not in self.categories:
                raise DataError(f"{self.annotations} uses unknown category id {category_id} in {file_name}.")
            area = entry.get("area")
            stated = area if type(area) in (int, float) else None
            segments[number] = SegmentInfo(number, category_id, entry.flag("iscrowd", False), stated)
        return tuple(segments.values())


def read_segment_ids(path: Path) -> np.ndarray:
    """The ids of a panoptic PNG, (H, W) int32; raises `DataError` if the file is not one."""
    return rgb_to_id(read_colours(path))


def write_segment_ids(path: Path, ids: np.ndarray) -> None:
    """Writes segment ids (H, W), 0 to 2^24 - 1, as a panoptic PNG."""
    Image.fromarray(id_to_rgb(ids)).save(path)
