"""The interface through which training and evaluation read labelled photos, independent of the file format."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np

from eovseg.data.class_table import Category, ClassTable
from eovseg.data.label_files import check_size, read_photo

Measure = Literal["panoptic", "semantic", "instance"]
# Meaning of id 0: with "panoptic", all pixels should be labelled and 0 is unknown; with "instances", all instances of
# the listed classes are labelled and 0 is none of them; with "partial", masks are complete but their borders are
# unlabelled, so 0 near a mask is unknown.
LabelKind = Literal["panoptic", "instances", "partial"]


@dataclass(frozen=True)
class SegmentInfo:
    """One region of a photo; `area` is the one stated in its annotation or None, and no metric depends on it."""

    id: int
    category_id: int
    is_crowd: bool
    area: float | None


@dataclass(frozen=True)
class Photo:
    """One labelled photo; `width` and `height` in pixels, `coco_id` if it comes from COCO.

    `segments` is empty for formats that do not list them up front (index masks, COCO instances).
    """

    image_id: int
    file_name: str
    width: int
    height: int
    segments: tuple[SegmentInfo, ...]
    panoptic_file_name: str
    negative_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()
    coco_id: int | None = None


@dataclass(frozen=True)
class InstanceMask:
    """One object of a photo: `mask` (H, W) bool, may overlap others; `area` as stated by the data set."""

    mask: np.ndarray
    category_id: int
    is_crowd: bool
    area: float


class LabelledFolder(ABC):
    """Common interface of all readers: `categories` by the data set's own ids, `photos`, and their labels.

    `measures` are the tasks that the labels support; `semantic_only` means that segments are class regions, not
    instances; `exhaustive_category_ids` are the classes labelled in every photo (None = all classes);
    `table` is the data set's class list if it is a known one; `unlabelled` lists photos without labels, which are not
    in `photos`; `instances_without_mask` maps the annotation ids of the objects without pixels found so far to their
    photos; `remarks` are further caveats for the evaluation report.
    """

    root: Path
    name: str
    images: Path
    categories: dict[int, Category]
    photos: tuple[Photo, ...]
    table: ClassTable | None = None
    semantic_only: bool = False
    exhaustive_category_ids: frozenset[int] | None = None
    measures: tuple[Measure, ...] = ("panoptic", "semantic", "instance")
    unlabelled: tuple[str, ...] = ()
    instances_without_mask: Mapping[int, str] = MappingProxyType({})
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats for the evaluation report, in complete sentences."""
        if not self.instances_without_mask:
            return self.remarks
        count, (number, file_name) = len(self.instances_without_mask), min(self.instances_without_mask.items())
        return (
            *self.remarks,
            f"Skipped objects without a mask: {count}, the first being annotation {number} of {file_name}.",
        )

    def __len__(self) -> int:
        return len(self.photos)

    def load_image(self, photo: Photo) -> np.ndarray:
        """The decoded photo, (H, W, 3) uint8 RGB, with EXIF orientation applied.

        Raises `DataError` if the file is unreadable or its size differs from that stated by the data set.
        """
        path = self.images / photo.file_name
        pixels = read_photo(path)
        check_size(path, pixels, photo.width, photo.height)
        return pixels

    @abstractmethod
    def load_segments(self, photo: Photo) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
        """Segment ids, (H, W) int32, 0 = unlabelled, and their segments; raises `DataError` naming the file."""

    def load_class_map(self, photo: Photo) -> np.ndarray | None:
        """Category ids, (H, W) int64, -1 = unlabelled, if they are stored in separate files; else None."""
        return None

    def load_instances(self, photo: Photo) -> tuple[InstanceMask, ...] | None:
        """Instance masks if they are stored in a separate file; None if the segments are the instances."""
        return None
