"""Labelled photos as training and evaluation read them, whatever the files on disk look like."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from eovseg.data.class_table import Category, ClassTable
from eovseg.data.label_files import check_size, read_photo

Measure = Literal["panoptic", "semantic", "instance"]
# "panoptic": every pixel meant to be labelled, 0 = unknown. "instances": every instance of the listed classes, so 0 =
# none of them. "partial": complete masks whose borders are unlabelled, 0 near a mask = unknown.
LabelKind = Literal["panoptic", "instances", "partial"]


@dataclass(frozen=True)
class SegmentInfo:
    """One region of one photo; `area` in pixels of the id PNG."""

    id: int
    category_id: int
    is_crowd: bool
    area: int


@dataclass(frozen=True)
class Photo:
    """One labelled photo; `width` and `height` in pixels, `coco_id` where the source is a part of COCO.

    `segments` is empty where only the label file itself tells what it holds (index masks, COCO instances).
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
    """One object of a photo: `mask` (H, W) bool, which may overlap others; `area` as the data set states it."""

    mask: np.ndarray
    category_id: int
    is_crowd: bool
    area: float


class LabelledFolder(ABC):
    """What every reader offers: `categories` by the data set's own ids, `photos`, and a photo's labels.

    `measures` are the tasks that the labels allow, `semantic_only` says that segments are class regions, not
    instances; `exhaustive_category_ids` are the classes labelled everywhere (None = all that the source lists);
    `table` is the data set's own class list where it is a known one; `unlabelled` names photos without any label,
    which are left out of `photos`; `notes` is what a reader of the numbers must know.
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
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.photos)

    def load_image(self, photo: Photo) -> np.ndarray:
        """The photo as the product sees it, (H, W, 3) uint8 RGB.

        Raises `DataError` for an unreadable file and for another size than the data set says.
        """
        path = self.images / photo.file_name
        pixels = read_photo(path)
        check_size(path, pixels, photo.width, photo.height)
        return pixels

    @abstractmethod
    def load_segments(self, photo: Photo) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
        """Segment ids, (H, W) int32 with 0 = unlabelled, and what each id is; raises `DataError` naming the file."""

    def load_class_map(self, photo: Photo) -> np.ndarray | None:
        """Category ids, (H, W) int64 with -1 = unlabelled, where files of their own hold them; else None."""
        return None

    def load_instances(self, photo: Photo) -> tuple[InstanceMask, ...] | None:
        """Instance masks where a file of their own holds them; None: the segments are the instances."""
        return None
