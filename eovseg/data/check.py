"""What a data set's folder holds, what it lacks, and which of its files are broken: every annotation is read."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eovseg.data.data_sets import chosen_split, data_set, missing_parts
from eovseg.data.label_files import check_sizes, image_size
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.data.layouts.building import in_threads
from eovseg.data.layouts.layout import Layout, Part
from eovseg.errors import DataError

QUICK_PHOTOS = 100
_ROUNDED = 50  # pixels by which a polygon's own area and its mask may differ


@dataclass
class CheckReport:
    """What a check found; `broken` and `notes` are whole sentences, the first broken file first."""

    layout: Layout
    split: str
    parts: tuple[Part, ...]
    photos: int = 0
    read: int = 0
    segments: int = 0
    present: set[int] = field(default_factory=set)
    classes: int = 0
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the split can be used as it is."""
        return not self.broken

    def lines(self) -> list[str]:
        """The report as text, one line each."""
        lines = [f"{self.layout.title}, split {self.split}: {self.layout.measures}"]
        for part in self.parts:
            found = part.path.exists()
            state = "found  " if found else "missing" if part.needed else "absent "
            lines.append(f"  {state}  {part.path}" + ("" if found else f" ({part.hint})"))
        if self.photos:
            lines.append(
                f"{self.photos} photos, {self.read} annotations read, {self.segments} segments, "
                f"{len(self.present)} of {self.classes} classes"
            )
        lines += self.notes
        if self.ok:
            lines.append("All that was read is whole.")
        else:
            lines.append(self.broken[0])
            if len(self.broken) > 1:
                lines.append(f"{len(self.broken)} annotations are broken; the line above tells of the first.")
            lines.append(f"Get it from {self.layout.page}")
        return lines


def check(name: str, root: Path | str, split: str | None = None, limit: int | None = None) -> CheckReport:
    """Check one split of a data set, at most `limit` annotations of it.

    Raises `ConfigError` for an unknown name or split; what is missing or broken stands in the report.
    """
    layout, root = data_set(name), Path(root)
    split = chosen_split(layout, split)
    report = CheckReport(layout, split, layout.parts(root, split))
    missing = missing_parts(layout, root, split)
    if missing:
        report.broken.append(f"{missing[0].path} is missing: {missing[0].hint}.")
        return report
    try:
        folder = layout.open(root, split)
    except DataError as error:
        report.broken.append(str(error))
        return report
    report.photos, report.classes = len(folder), len(folder.categories)
    if folder.unlabelled:
        count = len(folder.unlabelled)
        report.notes.append(f"Photos without any label, left out: {count}, the first {folder.unlabelled[0]}.")
    photos = folder.photos[:limit]
    if len(photos) < len(folder):
        report.notes.append(f"Only the first {len(photos)} annotations were read; without --quick all are.")
    empty, areas = [], []
    for photo, found in zip(photos, in_threads(lambda photo: _read(folder, photo), photos), strict=True):
        if isinstance(found, str):
            report.broken.append(found)
            continue
        report.read += 1
        report.segments += len(found.categories)
        report.present.update(found.categories)
        areas += found.areas
        if not found.categories:
            empty.append(photo.file_name)
    if empty:
        report.notes.append(f"Photos whose labels are all unlabelled: {len(empty)}, the first {empty[0]}.")
    if areas:
        report.notes.append(
            f"Wrong areas in the annotations: {len(areas)}, the first in {areas[0]}. Areas of segments count for "
            "nothing; those of objects decide whether AP counts them as small, medium or large."
        )
    report.notes += folder.notes
    return report


@dataclass(frozen=True)
class _Found:
    """What the labels of one photo hold: the category of each segment, and a phrase for each area that is wrong."""

    categories: list[int]
    areas: list[str]


def _read(folder: LabelledFolder, photo: Photo) -> _Found | str:
    """What the labels of one photo hold, or what is broken about it, in one sentence."""
    try:
        path = folder.images / photo.file_name
        check_sizes(path, image_size(path), (photo.width, photo.height))
        instances = folder.load_instances(photo)
        folder.load_class_map(photo)
        areas = [
            f"{photo.file_name}: {one.area:,.0f} pixels for an object of category {one.category_id} that has {drawn:,}"
            for one in instances or ()
            if abs(one.area - (drawn := int(one.mask.sum()))) > max(_ROUNDED, drawn / 2)
        ]
        if folder.measures == ("instance",):
            return _Found([one.category_id for one in instances or ()], areas)
        segment_map, segments = folder.load_segments(photo)
        pixels = dict(zip(*(values.tolist() for values in np.unique(segment_map, return_counts=True)), strict=True))
        areas += [
            f"{photo.file_name}: {segment.area:,} pixels for segment {segment.id} that has {counted:,}"
            for segment in segments
            if segment.area not in (None, counted := pixels.get(segment.id, 0))
        ]
        return _Found([segment.category_id for segment in segments if segment.id in pixels], areas)
    except DataError as error:
        return str(error)
