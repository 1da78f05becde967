"""Checks a data set folder for missing and broken files by reading every photo and its labels."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eovseg.data.data_sets import chosen_split, data_set, missing_files
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.data.layouts.building import in_threads
from eovseg.data.layouts.layout import Layout, Part
from eovseg.errors import DataError

QUICK_PHOTOS = 100
_ROUNDED = 50  # tolerance in pixels between a polygon's stated area and that of its mask


@dataclass
class CheckReport:
    """The result of a check; `broken` and `notes` are complete sentences, in file order."""

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
        """Whether the split is usable."""
        return not self.broken

    def lines(self) -> list[str]:
        """The report as lines of text."""
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
            lines.append("No errors were found.")
        else:
            lines.append(self.broken[0])
            if len(self.broken) > 1:
                lines.append(f"Errors were found in {len(self.broken)} photos; the line above describes the first.")
            lines.append(self.layout.source)
        return lines


def check(name: str, root: Path | str, split: str | None = None, limit: int | None = None) -> CheckReport:
    """Checks one split of a data set, reading at most `limit` annotations.

    Raises `ConfigError` for an unknown name or split; missing and broken files are part of the report.
    """
    layout, root = data_set(name), Path(root)
    split = chosen_split(layout, split)
    report = CheckReport(layout, split, layout.parts(root, split))
    if missing := missing_files(layout, root, split):
        report.broken.append(missing)
        return report
    try:
        folder = layout.open(root, split)
    except DataError as error:
        report.broken.append(str(error))
        return report
    report.photos, report.classes = len(folder), len(folder.categories)
    if folder.unlabelled:
        count = len(folder.unlabelled)
        report.notes.append(f"Skipped photos without labels: {count}, the first being {folder.unlabelled[0]}.")
    photos = folder.photos[:limit]
    if len(photos) < len(folder):
        report.notes.append(f"Only the first {len(photos)} annotations were read; omit --quick to read all.")
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
        report.notes.append(f"Photos without a labelled pixel: {len(empty)}, the first being {empty[0]}.")
    if areas:
        report.notes.append(
            f"Wrong areas in the annotations: {len(areas)}, the first in {areas[0]}. Areas of segments are not used; "
            "areas of objects decide whether AP counts them as small, medium or large."
        )
    if report.read and not report.segments and not report.broken:
        report.broken.append(f"No photo that was read in {folder.images} has a labelled pixel.")
    report.notes += folder.notes
    if "all" in layout.splits:  # the classes are the user's own
        report.notes += _class_notes(folder)
    return report


def _class_notes(folder: LabelledFolder) -> list[str]:
    """Sentences about classes that are probably not meant as they are listed."""
    notes = list(folder.table.vocabulary.notes) if folder.table else []
    counts = Counter(category.name.lower() for category in folder.categories.values())
    if twice := [name for name, count in counts.items() if count > 1]:
        notes.append(f"Classes with the same name, which the model cannot tell apart: {', '.join(twice)}.")
    things = [category.name for category in folder.categories.values() if category.is_thing]
    if things and folder.semantic_only:
        notes.append(
            f"These labels do not tell objects apart, so training learns no masks of things: {', '.join(things)}. Mark "
            "these classes as stuff to learn their regions."
        )
    return notes


@dataclass(frozen=True)
class _Found:
    """Labels of one photo: the category of each segment, and a description of each wrong area."""

    categories: list[int]
    areas: list[str]


def _read(folder: LabelledFolder, photo: Photo) -> _Found | str:
    """The labels of one photo, or a sentence that says why they or the photo are broken."""
    try:
        folder.load_image(photo)
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
