"""Training sources: what a folder's labels mean, how often it is drawn, and its photos decoded and cached."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter

from eovseg.data.classes import TrainingClasses
from eovseg.data.data_sets import open_data_set
from eovseg.data.labelled_folder import LabelKind, LabelledFolder, Photo, SegmentInfo
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.data.split import VALIDATION_FRACTION, photo_identities, photo_identity, validation_photos
from eovseg.data.xs_parts import PARTS, identities
from eovseg.errors import ConfigError

UNLABELLED = 0  # no class known, but known not to be part of any labelled instance: mask losses apply
VOID = 65535  # nothing known: neither mask nor class losses apply


@dataclass(frozen=True)
class TrainingSource:
    """A panoptic folder, or the split `split` of a known `dataset`, and how to train on it.

    `labels`: "panoptic" (every pixel meant to be labelled, 0 = unknown), "instances" (every instance of the listed
    classes, so 0 = none of them) or "partial" (complete masks whose borders are unlabelled, 0 near a mask = unknown).
    `share` is the source's part of a batch, relative to the other sources. `base_classes_compete` lets all classes
    of the base vocabulary compete for the source's photos beside its own; a source with a label space of its own
    ("person or animal") says False, and a data set with another class list never does it. `border` is the width in
    pixels of the unknown ring of "partial" masks. `leave_out` are photos, as `split.photo_identity` names them, that no
    source of the run may show.
    """

    root: Path
    labels: LabelKind
    share: float
    validation_fraction: float = 0.0
    base_classes_compete: bool = True
    border: int = 10
    dataset: str | None = None
    split: str | None = None
    leave_out: frozenset[str] = frozenset()

    def open(self) -> LabelledFolder:
        """Its photos and labels; raises `DataError` for missing or broken files."""
        return open_data_set(self.dataset, self.root, self.split) if self.dataset else PanopticFolder(self.root)


def xs_sources(data: Path | str) -> tuple[TrainingSource, ...]:
    """The sources that the shipped XS weights learn from, below the folder `data`.

    LVIS and ADE20K stay unseen for testing; the photos of `xs_parts` are in no training.
    """
    root, kept_apart = Path(data), frozenset().union(*map(identities, PARTS))
    return (
        TrainingSource(root / "coco_panoptic", "panoptic", 0.36, VALIDATION_FRACTION, leave_out=kept_apart),
        TrainingSource(root / "coco_taming", "panoptic", 0.05),
        TrainingSource(root / "coco_stuff_semantic", "panoptic", 0.06),
        TrainingSource(root / "coco_instances", "instances", 0.30),
        TrainingSource(root / "coco_partial4", "instances", 0.05),
        TrainingSource(root / "voc_animals", "instances", 0.13),
        TrainingSource(root / "oxford_pets", "partial", 0.05),
    )


@dataclass(frozen=True)
class SegmentLabel:
    """What a segment id of a sample stands for; a crowd is labelled but no target."""

    class_index: int
    is_thing: bool
    is_crowd: bool


@dataclass
class Sample:
    """One photo, or one view of it: `image` (H, W, 3) uint8, `segment_map` (H, W) uint16 with UNLABELLED and VOID.

    `known` (C,) bool over the training classes: those that may compete for the photo's pixels.
    """

    image: np.ndarray
    segment_map: np.ndarray
    segments: dict[int, SegmentLabel]
    known: np.ndarray


class OpenSource:
    """A source's training photos with labels in training classes, decoded once and kept at `cache_side` pixels.

    With a `cache_side` of 0 photos keep their own size and are decoded each time: for data sets larger than memory.
    `excluded` are photo identities (`split.photo_identity`) that training must not see.
    """

    def __init__(
        self,
        source: TrainingSource,
        folder: LabelledFolder,
        classes: TrainingClasses,
        excluded: Collection[str],
        cache_side: int,
    ) -> None:
        self.source = source
        self.folder = folder
        self.photos = tuple(photo for photo in folder.photos if photo_identity(folder, photo) not in excluded)
        if not self.photos:
            raise ConfigError(f"The source {source.root} has no photo left for training.")
        self.class_of_category = classes.of_folder(folder)
        self.known = np.zeros(0, dtype=bool)  # (C,), set once all sources have added their classes
        self._cache_side = cache_side
        self._cache: dict[int, Sample] = {}

    def sample(self, index: int) -> Sample:
        """Photo `index` at cache size, longer side at most `cache_side`; treat its arrays as read-only."""
        if not self._cache_side:
            return self._load(self.photos[index])
        if index not in self._cache:
            self._cache[index] = self._load(self.photos[index])
        return self._cache[index]

    def classes_of(self, index: int) -> list[int]:
        """Training classes labelled anywhere in photo `index`; its labels are read only where no list names them."""
        photo = self.photos[index]
        segments = photo.segments or self.folder.load_segments(photo)[1]
        return [self.class_of_category[segment.category_id] for segment in segments]

    def _load(self, photo: Photo) -> Sample:
        compact, segments = self._compact(*self.folder.load_segments(photo))
        if self.source.labels == "panoptic":
            compact[compact == UNLABELLED] = VOID
        elif self.source.labels == "partial":
            mark_borders(compact, self.source.border)
        scale = min(1.0, (self._cache_side or math.inf) / max(photo.height, photo.width))
        width, height = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
        image = Image.fromarray(self.folder.load_image(photo)).resize((width, height), Image.Resampling.BILINEAR)
        rows = ((np.arange(height) + 0.5) * (photo.height / height)).astype(np.intp)
        columns = ((np.arange(width) + 0.5) * (photo.width / width)).astype(np.intp)
        return Sample(np.asarray(image), compact[rows[:, None], columns], segments, self.known)

    def _compact(
        self, segment_ids: np.ndarray, listed: Collection[SegmentInfo]
    ) -> tuple[np.ndarray, dict[int, SegmentLabel]]:
        """Renumbers segments from 1 on (uint16) and merges stuff of one class, as one mask is all of it."""
        segments: dict[int, SegmentLabel] = {}
        number_of_label: dict[SegmentLabel, int] = {}
        compact = np.zeros(segment_ids.shape, dtype=np.uint16)
        for segment in listed:
            is_thing = self.folder.categories[segment.category_id].is_thing
            # A class region of things is not one instance: labelled, but no target.
            is_crowd = segment.is_crowd or (self.folder.semantic_only and is_thing)
            label = SegmentLabel(self.class_of_category[segment.category_id], is_thing, is_crowd)
            number = len(segments) + 1
            if not is_thing:
                number = number_of_label.setdefault(label, number)
            segments[number] = label
            compact[segment_ids == segment.id] = number
        return compact, segments


def mark_borders(segment_map: np.ndarray, width: int) -> None:
    """Turns unlabelled pixels within `width` pixels (a square) of a labelled one into VOID, in place."""
    if width < 1:
        return
    grown = maximum_filter((segment_map != UNLABELLED).view(np.uint8), size=2 * width + 1).view(bool)
    segment_map[grown & (segment_map == UNLABELLED)] = VOID


def open_sources(
    sources: Collection[TrainingSource],
    classes: TrainingClasses,
    held_out: Collection[LabelledFolder] = (),
    cache_side: int = 448,
    folders: Collection[LabelledFolder] | None = None,
) -> tuple[OpenSource, ...]:
    """Opens sources without the photos of any source's validation split and `leave_out`, and of the `held_out` folders.

    A photo of two sources is trained on in the first one only. `folders` are the sources' own where they are open.
    """
    folders = folders or [source.open() for source in sources]
    excluded = set().union(*(source.leave_out for source in sources))
    for folder, source in zip(folders, sources, strict=True):
        excluded |= photo_identities(folder, validation_photos(folder, source.validation_fraction))
    for folder in held_out:
        excluded |= photo_identities(folder, folder.photos)
    opened = []
    for folder, source in zip(folders, sources, strict=True):
        opened.append(OpenSource(source, folder, classes, frozenset(excluded), cache_side))
        excluded |= photo_identities(folder, folder.photos)
    for entry in opened:
        known = np.zeros(len(classes), dtype=bool)
        own_list = entry.folder.table is not None and not classes.starts_with(entry.folder.table)
        known[: classes.base_size] = entry.source.base_classes_compete and not own_list
        known[list(entry.class_of_category.values())] = True
        entry.known = known
    return tuple(opened)
