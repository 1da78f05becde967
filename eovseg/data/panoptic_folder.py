"""Any folder in COCO's panoptic format: photos, id PNGs (id = R + 256 G + 65536 B, 0 = unlabelled) and one JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eovseg.errors import DataError


@dataclass(frozen=True)
class Category:
    """One class of a source, under the source's own id."""

    id: int
    name: str
    is_thing: bool


@dataclass(frozen=True)
class SegmentInfo:
    """One region of one photo; `area` in pixels of the id PNG."""

    id: int
    category_id: int
    is_crowd: bool
    area: int


@dataclass(frozen=True)
class Photo:
    """One labelled photo; `width` and `height` in pixels, `coco_id` where the source is a part of COCO."""

    image_id: int
    file_name: str
    width: int
    height: int
    segments: tuple[SegmentInfo, ...]
    panoptic_file_name: str
    negative_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()
    coco_id: int | None = None


class PanopticFolder:
    """The photos and segments of one folder, checked when opened.

    `categories` maps the source's ids to classes; `semantic_only` says that segments are class regions, not
    instances; `exhaustive_category_ids` are the classes labelled everywhere (None = all that the source lists).
    Raises `DataError`, naming the file, for missing files, broken JSON, unknown categories, duplicate ids and
    photos without segments.
    """

    def __init__(
        self,
        root: Path | str,
        annotations: Path | str | None = None,
        images: Path | str | None = None,
        panoptic: Path | str | None = None,
    ) -> None:
        self.root = Path(root)
        self.name = self.root.name
        self.annotations = Path(annotations) if annotations else self.root / "panoptic.json"
        self.images = Path(images) if images else self.root / "images"
        self.panoptic = Path(panoptic) if panoptic else self.root / "panoptic"
        document = _read_json(self.annotations)
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

    def __len__(self) -> int:
        return len(self.photos)

    def load_image(self, photo: Photo) -> np.ndarray:
        """The photo's pixels, (H, W, 3) uint8 RGB; raises `DataError` for an unreadable file or another size."""
        return self._load_rgb(self.images / photo.file_name, photo)

    def load_segment_map(self, photo: Photo) -> np.ndarray:
        """The photo's segment ids, (H, W) int32 with 0 = unlabelled; raises `DataError` for ids the JSON lacks."""
        path = self.panoptic / photo.panoptic_file_name
        rgb = self._load_rgb(path, photo).astype(np.int32)
        segment_map = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        listed = np.sort(np.array([0] + [segment.id for segment in photo.segments], dtype=np.int32))
        nearest = listed[np.searchsorted(listed[:-1], segment_map)]
        unknown = segment_map[nearest != segment_map]
        if unknown.size:
            raise DataError(
                f"{path} has segment ids that {self.annotations} does not list: {np.unique(unknown)[:5].tolist()}."
            )
        return segment_map

    def _load_rgb(self, path: Path, photo: Photo) -> np.ndarray:
        pixels = read_rgb(path)
        if pixels.shape[:2] != (photo.height, photo.width):
            raise DataError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, {self.annotations} says "
                f"{photo.width}x{photo.height}."
            )
        return pixels

    def _parse_categories(self, records: Sequence[Mapping[str, Any]]) -> dict[int, Category]:
        categories: dict[int, Category] = {}
        for record in records:
            category = Category(int(record["id"]), str(record["name"]), bool(record["isthing"]))
            if category.id in categories:
                raise DataError(f"{self.annotations} lists category id {category.id} twice.")
            categories[category.id] = category
        return categories

    def _parse_photos(
        self, images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]]
    ) -> tuple[Photo, ...]:
        by_image: dict[int, Mapping[str, Any]] = {}
        for annotation in annotations:
            image_id = int(annotation["image_id"])
            if image_id in by_image:
                raise DataError(f"{self.annotations} annotates image id {image_id} twice.")
            by_image[image_id] = annotation
        photos: dict[int, Photo] = {}
        for record in images:
            image_id = int(record["id"])
            if image_id in photos:
                raise DataError(f"{self.annotations} lists image id {image_id} twice.")
            if image_id not in by_image:
                raise DataError(f"{self.annotations} has no annotation for {record['file_name']}.")
            photos[image_id] = self._parse_photo(record, by_image[image_id])
        orphans = by_image.keys() - photos.keys()
        if orphans:
            raise DataError(f"{self.annotations} annotates image ids that it does not list: {sorted(orphans)[:5]}.")
        if not photos:
            raise DataError(f"{self.annotations} lists no photos.")
        return tuple(photos.values())

    def _parse_photo(self, record: Mapping[str, Any], annotation: Mapping[str, Any]) -> Photo:
        segments = tuple(
            SegmentInfo(int(s["id"]), int(s["category_id"]), bool(s.get("iscrowd", 0)), int(s.get("area", 0)))
            for s in annotation["segments_info"]
        )
        file_name = str(record["file_name"])
        if not segments:
            raise DataError(f"{self.annotations} lists no segments for {file_name}.")
        if len({segment.id for segment in segments}) < len(segments):
            raise DataError(f"{self.annotations} lists a segment id of {file_name} twice.")
        for segment in segments:
            if segment.category_id not in self.categories:
                raise DataError(f"{self.annotations} uses unknown category id {segment.category_id} in {file_name}.")
            if segment.id <= 0:
                raise DataError(f"{self.annotations} uses segment id {segment.id} in {file_name}; ids start at 1.")
        photo = Photo(
            image_id=int(record["id"]),
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
        return photo


def read_rgb(path: Path) -> np.ndarray:
    """An image file's pixels as stored, (H, W, 3) uint8 RGB, never turned by EXIF as labels are not either.

    Raises `DataError` naming a file that cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}).") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); a panoptic folder needs this file.") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}).") from error
