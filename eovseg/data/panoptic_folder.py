"""Any folder in COCO's panoptic format: photos, id PNGs (id = R + 256 G + 65536 B, 0 = unlabelled) and one JSON."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.data.class_table import Category, ClassTable
from eovseg.data.coco_instances import InstanceFile
from eovseg.data.index_masks import ClassMaps
from eovseg.data.label_files import check_size, read_json, read_rgb
from eovseg.data.labelled_folder import InstanceMask, LabelledFolder, Photo, SegmentInfo
from eovseg.errors import DataError

__all__ = ["Category", "PanopticFolder", "Photo", "SegmentInfo", "read_rgb", "read_segment_ids"]

# Above this share of classes whose thing or stuff differs, a file's ids are not those of the data set.
_DIFFERENT_KINDS = 0.1


class PanopticFolder(LabelledFolder):
    """The photos and segments of one folder, checked when opened.

    `categories` maps the source's ids to classes. A known data set gives its class `table` (its ids then count, not
    the JSON's names), `class_maps` and `instances` where mIoU and AP have label files of their own, and `photo_path`
    where the JSON does not say where in `images` a photo lies. A photo without segments is left out and named in
    `unlabelled` when its PNG has none either.
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
        self.table = table
        self._class_maps, self._instances, self._photo_path = class_maps, instances, photo_path
        document = read_json(self.annotations)
        try:
            self.semantic_only = bool(document.get("semantic_only", False))
            exhaustive = document.get("exhaustive_category_ids")
            self.exhaustive_category_ids = None if exhaustive is None else frozenset(int(i) for i in exhaustive)
            self.categories = self._parse_categories(document["categories"])
            self.photos = self._parse_photos(document["images"], document["annotations"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{self.annotations} is not COCO panoptic JSON ({type(error).__name__}: {error}); it needs `images`, "
                "`annotations` with `segments_info`, and `categories`."
            ) from error
        if self.semantic_only:
            self.measures = ("semantic",)

    def load_segments(self, photo: Photo) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
        """The photo's segment ids and segments; errors as `load_segment_map`."""
        return self.load_segment_map(photo), photo.segments

    def load_segment_map(self, photo: Photo) -> np.ndarray:
        """The photo's segment ids, (H, W) int32 with 0 = unlabelled; raises `DataError` for ids the JSON lacks."""
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
        """Category ids from the data set's own semantic label files, where it has some beside the panoptic ones."""
        return self._class_maps.load(photo) if self._class_maps else None

    def load_instances(self, photo: Photo) -> tuple[InstanceMask, ...] | None:
        """Instance masks from the data set's own instance annotations, where it has some beside the panoptic ones."""
        return self._instances.load(photo.image_id, photo) if self._instances else None

    def _parse_categories(self, records: Sequence[Mapping[str, Any]]) -> dict[int, Category]:
        categories: dict[int, Category] = {}
        for record in records:
            category = Category(int(record["id"]), str(record["name"]), bool(record["isthing"]))
            if category.id in categories:
                raise DataError(f"{self.annotations} lists category id {category.id} twice.")
            categories[category.id] = category
        if self.table is None:
            return categories
        shared = self.table.only(set(categories))
        different = [i for i, category in shared.items() if category.is_thing != categories[i].is_thing]
        if not shared or len(different) > _DIFFERENT_KINDS * len(shared):
            listed = ", ".join(f"{i} {categories[i].name}" for i in [*different, *categories][:3])
            raise DataError(
                f"{self.annotations} numbers its categories otherwise than {self.name} ({listed}); "
                "take the file that the data set's own tools write."
            )
        return self.table.categories

    def _parse_photos(
        self, images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]]
    ) -> tuple[Photo, ...]:
        by_image: dict[str, Mapping[str, Any]] = {}
        for annotation in annotations:
            key = str(annotation["image_id"])
            if key in by_image:
                raise DataError(f"{self.annotations} annotates image id {key} twice.")
            by_image[key] = annotation
        photos: dict[str, Photo | None] = {}
        for number, record in enumerate(images, 1):
            key = str(record["id"])
            if key in photos:
                raise DataError(f"{self.annotations} lists image id {key} twice.")
            if key not in by_image:
                raise DataError(f"{self.annotations} has no annotation for {record['file_name']}.")
            photos[key] = self._parse_photo(number, record, by_image[key])
        orphans = by_image.keys() - photos.keys()
        if orphans:
            listed = ", ".join(sorted(orphans)[:5])
            raise DataError(f"{self.annotations} annotates image ids that it does not list: [{listed}].")
        labelled = tuple(photo for photo in photos.values() if photo)
        if not labelled:
            raise DataError(f"{self.annotations} lists no photos.")
        return labelled

    def _parse_photo(self, number: int, record: Mapping[str, Any], annotation: Mapping[str, Any]) -> Photo | None:
        """The photo, or None for one without any label; `number` is its id where the JSON's is no integer."""
        segments = tuple(
            SegmentInfo(int(s["id"]), int(s["category_id"]), bool(s.get("iscrowd", 0)), int(s.get("area", 0)))
            for s in annotation["segments_info"]
        )
        file_name = self._photo_path(record) if self._photo_path else str(record["file_name"])
        if len({segment.id for segment in segments}) < len(segments):
            raise DataError(f"{self.annotations} lists a segment id of {file_name} twice.")
        for segment in segments:
            if segment.category_id not in self.categories:
                raise DataError(f"{self.annotations} uses unknown category id {segment.category_id} in {file_name}.")
            if segment.id <= 0:
                raise DataError(f"{self.annotations} uses segment id {segment.id} in {file_name}; ids start at 1.")
        photo = Photo(
            image_id=record["id"] if isinstance(record["id"], int) else number,
            file_name=file_name,
            width=int(record["width"]),
            height=int(record["height"]),
            segments=segments,
            panoptic_file_name=str(annotation["file_name"]),
            negative_category_ids=tuple(int(i) for i in record.get("neg_category_ids", ())),
            not_exhaustive_category_ids=tuple(int(i) for i in record.get("not_exhaustive_category_ids", ())),
            coco_id=None if record.get("coco_id") is None else int(record["coco_id"]),
        )
        for path in (self.images / photo.file_name, self.panoptic / photo.panoptic_file_name):
            if not path.is_file():
                raise DataError(f"{path} is missing, {self.annotations} lists it.")
        if segments:
            return photo
        if read_segment_ids(self.panoptic / photo.panoptic_file_name).any():
            raise DataError(f"{self.annotations} lists no segments for {file_name}, and its PNG has some.")
        self.unlabelled += (file_name,)
        return None


def read_segment_ids(path: Path) -> np.ndarray:
    """The ids of a panoptic PNG, (H, W) int32; raises `DataError` naming a file that cannot be read."""
    rgb = read_rgb(path).astype(np.int32)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def write_segment_ids(path: Path, ids: np.ndarray) -> None:
    """Write segment ids (H, W), 0 to 2^24 - 1, as a panoptic PNG."""
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)).save(path)
