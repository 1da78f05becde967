"""Training sources: the meaning of a folder's labels, its sampling share, and a cache of its decoded photos."""

import math
from collections.abc import Collection, Sequence
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

UNLABELLED = 0  # class unknown, but not part of any labelled instance: mask losses apply
VOID = 65535  # unknown: neither mask nor class losses apply


@dataclass(frozen=True)
class TrainingSource:
    """A panoptic folder, or the split `split` of a known `dataset`, and how to train on it.

    `labels`: "panoptic" (all pixels should be labelled, 0 = unknown), "instances" (all instances of the listed classes
    are labelled, 0 = none of them) or "partial" (complete masks with unlabelled borders, 0 near a mask = unknown).
    `share` is the source's weight in a batch, relative to the other sources. `base_classes_compete` lets all classes of
    the base vocabulary compete for the source's photos; set it to False for a source with a different label space
    ("person or animal"). It is ignored for a data set with another class list. `border` is the width in pixels of the
    unknown ring around "partial" masks. `leave_out` are the identities (`split.photo_identity`) of photos that no
    source of the run may use. `replaces` removes the source's photos from all other sources, and drops those that have
    none left.
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
    replaces: bool = False

    def open(self) -> LabelledFolder:
        """Opens its photos and labels; raises `DataError` for missing or broken files."""
        return open_data_set(self.dataset, self.root, self.split) if self.dataset else PanopticFolder(self.root)


def xs_sources(data: Path | str) -> tuple[TrainingSource, ...]:
    """The training sources of the shipped XS weights, below the folder `data`.

    LVIS and ADE20K are reserved for testing; the photos of `xs_parts` are never trained on.
    """
    root, kept_apart = Path(data), frozenset().union(*map(identities, PARTS))
    return (
        TrainingSource(root / "coco_panoptic", "panoptic", 0.26, VALIDATION_FRACTION, leave_out=kept_apart),
        TrainingSource(root / "coco_taming", "panoptic", 0.07),
        TrainingSource(root / "coco_stuff_semantic", "panoptic", 0.07),
        TrainingSource(root / "coco_instances", "instances", 0.42),
        TrainingSource(root / "coco_partial4", "instances", 0.04),
        TrainingSource(root / "voc_animals", "instances", 0.10),
        TrainingSource(root / "oxford_pets", "partial", 0.04),
    )


@dataclass(frozen=True)
class SegmentLabel:
    """The meaning of a segment id of a sample; a crowd is labelled but not a target."""

    class_index: int
    is_thing: bool
    is_crowd: bool


@dataclass
class Sample:
    """One photo, or one view of it: `image` (H, W, 3) uint8, `segment_map` (H, W) uint16 with UNLABELLED and VOID.

    `known` (C,) bool: the training classes that may compete for the photo's pixels.
    """

    image: np.ndarray
    segment_map: np.ndarray
    segments: dict[int, SegmentLabel]
    known: np.ndarray


class OpenSource:
    """A source's training photos with labels as training classes, decoded once and cached at `cache_side` pixels.

    With `cache_side` 0, photos keep their size and are decoded each time, for data sets larger than memory.
    `excluded` are identities (`split.photo_identity`) of photos that must not be trained on.
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
            raise ConfigError(f"The source {source.root} has no photos left for training.")
        self.class_of_category = classes.of_folder(folder)
        self.known = np.zeros(0, dtype=bool)  # (C,), set once all sources have added their classes
        self._cache_side = cache_side
        self._cache: dict[int, Sample] = {}

    def sample(self, index: int) -> Sample:
        """Photo `index`, longer side at most `cache_side`; treat its arrays as read-only."""
        if not self._cache_side:
            return self._load(self.photos[index])
        if index not in self._cache:
            self._cache[index] = self._load(self.photos[index])
        return self._cache[index]

    def classes_of(self, index: int) -> list[int]:
        """Training classes labelled anywhere in photo `index`; its labels are read only if no segments are listed."""
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
        """Renumbers segments from 1 (uint16) and merges stuff of one class into one mask."""
        segments: dict[int, SegmentLabel] = {}
        number_of_label: dict[SegmentLabel, int] = {}
        compact = np.zeros(segment_ids.shape, dtype=np.uint16)
        for segment in listed:
            is_thing = self.folder.categories[segment.category_id].is_thing
            # A class region of things is not an instance: labelled, but not a target.
            is_crowd = segment.is_crowd or (self.folder.semantic_only and is_thing)
            label = SegmentLabel(self.class_of_category[segment.category_id], is_thing, is_crowd)
            number = len(segments) + 1
            if not is_thing:
                number = number_of_label.setdefault(label, number)
            segments[number] = label
            compact[segment_ids == segment.id] = number
        return compact, segments


def mark_borders(segment_map: np.ndarray, width: int) -> None:
    """Sets unlabelled pixels within `width` pixels (Chebyshev distance) of a labelled one to VOID, in place."""
    if width < 1:
        return
    grown = maximum_filter((segment_map != UNLABELLED).view(np.uint8), size=2 * width + 1).view(bool)
    segment_map[grown & (segment_map == UNLABELLED)] = VOID


def open_sources(
    sources: Sequence[TrainingSource],
    classes: TrainingClasses,
    held_out: Collection[LabelledFolder] = (),
    cache_side: int = 448,
    folders: Collection[LabelledFolder] | None = None,
) -> tuple[OpenSource, ...]:
    """Opens sources, excluding the validation split and `leave_out` of every source and the `held_out` folders.

    A photo in several sources is used in the first one that `replaces` the others, or else in the first one. `folders`
    are the sources' folders if already open.
    """
    folders = folders or [source.open() for source in sources]
    excluded = set().union(*(source.leave_out for source in sources))
    for folder, source in zip(folders, sources, strict=True):
        excluded |= photo_identities(folder, validation_photos(folder, source.validation_fraction))
    for folder in held_out:
        excluded |= photo_identities(folder, folder.photos)
    replaced: set[str] = set()
    opened = []
    by_rank = sorted(zip(sources, folders, strict=True), key=lambda pair: not pair[0].replaces)
    for source, folder in by_rank:
        own = photo_identities(folder, folder.photos)
        if not own <= replaced:
            opened.append(OpenSource(source, folder, classes, frozenset(excluded), cache_side))
        excluded |= own
        if source.replaces:
            replaced |= own
    opened.sort(key=lambda entry: sources.index(entry.source))
    for entry in opened:
        known = np.zeros(len(classes), dtype=bool)
        own_list = entry.folder.table is not None and not classes.starts_with(entry.folder.table)
        known[: classes.base_size] = entry.source.base_classes_compete and not own_list
        known[list(entry.class_of_category.values())] = True
        entry.known = known
    return tuple(opened)
