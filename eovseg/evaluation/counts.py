"""Sparse counts per photo, stored beside a report, from which all figures of the report can be computed again."""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.errors import DataError
from eovseg.evaluation.average_precision import ClassMatches
from eovseg.evaluation.boundaries import BoundaryPixels

COUNTS_FILE = "counts.json.gz"


class ClassSegments(NamedTuple):
    """Counts for the PQ of one class in one photo; `iou_sum` is over the true positives."""

    class_index: int
    iou_sum: float
    true_positives: int
    false_positives: int
    false_negatives: int


class ClassPixels(NamedTuple):
    """Numbers of labelled pixels of one class in one photo that are right, true, and predicted."""

    class_index: int
    right: int
    true: int
    predicted: int


class ScoredSegment(NamedTuple):
    """Score (0..1) of a predicted segment, and whether it matched a true one; ignored segments are omitted."""

    score: float
    right: bool


class NamedRegion(NamedTuple):
    """A true region: its class, and the rank of that class by each classifier, 1 = best."""

    class_index: int
    in_vocabulary: int
    out_of_vocabulary: int
    ensemble: int


class VoidScore(NamedTuple):
    """Void probability (0..1) of a true region, and whether its word was omitted from the vocabulary."""

    probability: float
    absent: bool


class RegionMasks(NamedTuple):
    """Which masks match a true region of the size group `group` (`mask_recall.GROUPS`)."""

    group: int
    kernel: bool
    named_kernel: bool
    segment: bool
    named_segment: bool


@dataclass(frozen=True)
class PhotoCounts:
    """The counts of one photo, identified by its file name; parts that were not measured are None."""

    photo: str
    panoptic: list[ClassSegments] | None = None
    segments: list[ScoredSegment] | None = None
    semantic: list[ClassPixels] | None = None
    instance: list[ClassMatches] | None = None
    regions: list[NamedRegion] | None = None
    absent: list[VoidScore] | None = None
    masks: list[RegionMasks] | None = None
    boundaries: list[BoundaryPixels] | None = None


_ROWS: dict[str, Callable[..., Any]] = {
    "panoptic": ClassSegments,
    "segments": ScoredSegment,
    "semantic": ClassPixels,
    "instance": ClassMatches,
    "regions": NamedRegion,
    "absent": VoidScore,
    "masks": RegionMasks,
    "boundaries": BoundaryPixels,
}


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of all photos; `is_thing` and `seen` (K,) bool belong to the vocabulary's K classes."""

    photos: tuple[PhotoCounts, ...]
    is_thing: np.ndarray
    seen: np.ndarray

    def has(self, part: str) -> bool:
        """Whether a part of `PhotoCounts` was measured."""
        return bool(self.photos) and getattr(self.photos[0], part) is not None

    def rows(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """All rows of a part as numbers (n, columns), and the photo index (n,) of each."""
        rows = [row for photo in self.photos for row in getattr(photo, part) or ()]
        place = np.repeat(np.arange(len(self.photos)), [len(getattr(photo, part) or ()) for photo in self.photos])
        columns = len(_ROWS[part]._fields)  # type: ignore[attr-defined]
        return np.array(rows, dtype=np.float64).reshape(-1, columns), place

    def per_class(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """The numbers (photos, columns - 1, C) of a part whose rows begin with a class index, and its C classes."""
        rows, place = self.rows(part)
        classes, column = np.unique(rows[:, 0].astype(np.int64), return_inverse=True)
        table = np.zeros((len(self.photos), rows.shape[1] - 1, len(classes)))
        table[place, :, column] = rows[:, 1:]
        return table, classes

    def of_photos(self, names: list[str]) -> "Counts":
        """The counts with the photos in the order of `names`."""
        by_name = {photo.photo: photo for photo in self.photos}
        return Counts(tuple(by_name[name] for name in names), self.is_thing, self.seen)

    def save(self, folder: Path) -> Path:
        """Writes `COUNTS_FILE` into `folder`; equal counts give identical bytes."""
        photos = [
            {field.name: value for field in fields(photo) if (value := getattr(photo, field.name)) is not None}
            for photo in self.photos
        ]
        text = json.dumps({"format": 1, "photos": photos}, ensure_ascii=False, separators=(",", ":"))
        path = folder / COUNTS_FILE
        write_atomically(path, gzip.compress(text.encode(), mtime=0))
        return path


def read_photo_counts(path: Path) -> tuple[PhotoCounts, ...]:
    """The photos of a file written by `Counts.save`; raises `DataError` for other files."""
    try:
        document = json.loads(gzip.decompress(path.read_bytes()))
        if document["format"] != 1:
            raise ValueError
        return tuple(_photo(entry) for entry in document["photos"])
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"{path} contains no counts that this version can read; evaluate the model again.") from error


def _photo(entry: Mapping[str, Any]) -> PhotoCounts:
    parts = {name: [make(*row) for row in entry[name]] for name, make in _ROWS.items() if name in entry}
    return PhotoCounts(str(entry["photo"]), **parts)
