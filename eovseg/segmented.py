"""A segmented photo: the segment map, the segments with their scores, and pictures of them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from eovseg import pictures
from eovseg.colours import segment_colours, segment_labels
from eovseg.errors import ConfigError
from eovseg.instance_masks import InstanceMasks
from eovseg.overlay import draw_overlay
from eovseg.pictures import OutlineBackground
from eovseg.typed_settings import is_integer
from eovseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Segment:
    """One segment: its id in the map, class (index in the vocabulary), scores in 0..1, and area and box in pixels.

    `score` is that of the ensemble or, for panoptic segments of a calibrated model, the probability that the segment is
    correct (right class, IoU above 0.5); `in_vocabulary` and `out_of_vocabulary` are the two probabilities behind it;
    `box` is x0, y0, x1, y1 with exclusive ends. `words`, most likely first, contain the right word in 90 % of cases,
    where that was measured (`eovseg.advice.thresholds`); else it is empty.
    """

    id: int
    class_id: int
    label: str
    is_thing: bool
    score: float
    in_vocabulary: float
    out_of_vocabulary: float
    area: int
    box: tuple[int, int, int, int]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether there is enough evidence that a word of the list is in the photo; see `eovseg.advice.thresholds`.

    XS reports 5 % of absent words as present, and up to 28 % of present words as absent.
    """

    word: str
    in_photo: bool


@dataclass(frozen=True, eq=False, repr=False)
class SegmentedPhoto:
    """One photo segmented into the classes of `vocabulary`: the data of a `Result`, and pictures of it.

    `image` (H, W, 3) uint8; `segment_map` (H, W) int32, the segment's id or 0 = unlabelled; `task` is
    "panoptic", "semantic" (one segment per class) or "instance". Instances overlap, so that task also has
    `instance_masks`, (n, H, W) bool, one per segment in the same order. `timings` are in seconds. `name` is the photo's
    file name. `queries`: the object kernel whose scores each segment reports. `background`: the segments that
    eovseg.background merged into the last segment, "other". `verdicts`: which words are in the photo, as far as
    that was measured; a word that has a segment is never absent. `subject`: labels of the classes that pictures with a
    background keep in front. `corrections`: the calls of `rename`, `merge`, `delete` and `split` made by a person.
    Raises ValueError if the shapes do not match.
    """

    image: np.ndarray
    segment_map: np.ndarray
    segments: tuple[Segment, ...]
    vocabulary: Vocabulary
    task: str = "panoptic"
    timings: dict[str, float] = field(default_factory=dict)
    instance_masks: InstanceMasks | None = None
    name: str = ""
    queries: tuple[int, ...] = ()
    background: tuple[Segment, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    subject: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.segment_map.shape != self.image.shape[:2]:
            raise ValueError(f"segment_map is {self.segment_map.shape} and image {self.image.shape}; sizes must match.")
        expected = (len(self.segments), *self.segment_map.shape)
        if self.instance_masks is not None and self.instance_masks.shape != expected:
            raise ValueError(f"instance_masks is {self.instance_masks.shape}, expected {expected}.")
        found = {segment.label for segment in self.segments}
        told = tuple(Verdict(verdict.word, verdict.in_photo or verdict.word in found) for verdict in self.verdicts)
        object.__setattr__(self, "verdicts", told)

    def __repr__(self) -> str:
        height, width = self.segment_map.shape
        shown = ", ".join(self.names[:8]) + (", …" if len(self.names) > 8 else "")
        return f"Result({self.name or 'photo'}, {width} x {height}, {self.task}, {len(self.names)} segments: {shown})"

    @cached_property
    def names(self) -> list[str]:
        """One unique name per segment, as in overlay and legend ("person 2")."""
        return segment_labels(self.segments)

    def index_of(self, id: int) -> int:
        """The index in `segments` of the segment with this id. Raises `ConfigError` if there is none."""
        if not is_integer(id):
            raise ConfigError(f"Give a segment by its id, such as result.segments[0].id, not as {type(id).__name__}.")
        for place, segment in enumerate(self.segments):
            if segment.id == id:
                return place
        ids = ", ".join(str(segment.id) for segment in self.segments[:12]) or "none"
        more = ", …" if len(self.segments) > 12 else ""
        raise ConfigError(f"There is no segment {id}; the ids are {ids}{more}.")

    def mask(self, index: int) -> np.ndarray:
        """(H, W) bool, the pixels of `segments[index]`."""
        if self.instance_masks is not None:
            return self.instance_masks[index]
        return self.segment_map == self.segments[index].id

    def masks(self) -> np.ndarray:
        """(n, H, W) bool, the pixels of every segment in the order of `segments`; takes n x H x W bytes."""
        dense = np.zeros((len(self.segments), *self.segment_map.shape), dtype=bool)
        for index in range(len(self.segments)):
            dense[index] = self.mask(index)
        return dense

    def overlay(
        self, opacity: float = 0.5, labels: bool = True, highlight: Collection[int] | None = None
    ) -> Image.Image:
        """The photo with its segments drawn over it; see `eovseg.overlay.draw_overlay`."""
        # "other" is not tinted.
        return draw_overlay(self.image, self.segment_map, self.named, opacity, labels, highlight)

    @property
    def named(self) -> tuple[Segment, ...]:
        """The segments that are one of the words: all but "other"."""
        return self.segments[:-1] if self.background else self.segments

    def subject_ids(self) -> list[int]:
        """The segments that pictures keep in front by default: those of `subject`, else all things, else all."""
        chosen = [segment.id for segment in self.named if segment.label in self.subject]
        things = [segment.id for segment in self.named if segment.is_thing]
        return chosen if self.subject else things or [segment.id for segment in self.named]

    def cutout(self, ids: int | Collection[int]) -> Image.Image:
        """Segments by id as RGBA, cropped, with transparent surroundings; see `eovseg.pictures.cutout`.

        Raises `ConfigError` for an id that no segment has.
        """
        return pictures.cutout(self.image, self._subject(ids))

    def cutouts(self) -> dict[str, Image.Image]:
        """Each named segment by its unique name ("person 2") as RGBA, with transparent surroundings."""
        return {name: self.cutout(segment.id) for name, segment in zip(self.names, self.named, strict=False)}

    def spotlight(self, ids: int | Collection[int] | None = None) -> Image.Image:
        """The photo, darkened except for some segments, by default `subject_ids()`; raises the errors of `cutout`."""
        return pictures.spotlight(self.image, self._subject(ids))

    def grey_background(self, ids: int | Collection[int] | None = None) -> Image.Image:
        """The photo, in grey except for some segments, by default `subject_ids()`; raises the errors of `cutout`."""
        return pictures.grey_background(self.image, self._subject(ids))

    def blurred_background(self, ids: int | Collection[int] | None = None, strength: float = 1.0) -> Image.Image:
        """The photo, blurred except for some segments, by default `subject_ids()`; `strength` 0..4.

        Raises `ConfigError` for an id that no segment has, or another strength.
        """
        return pictures.blurred_background(self.image, self._subject(ids), strength)

    def outlines(self, on: OutlineBackground = "white") -> Image.Image:
        """The borders of the named segments in their colours, on a "white", "photo" or "transparent" background."""
        places = np.zeros(int(self.segment_map.max(initial=0)) + 1, dtype=np.int32)
        for place, segment in enumerate(self.named, start=1):
            if segment.id < len(places):  # an instance that others cover may be missing from the map
                places[segment.id] = place
        return pictures.outlines(self.image, places[self.segment_map], segment_colours(self.named), on)

    def _subject(self, ids: int | Collection[int] | None) -> np.ndarray:
        """(H, W) bool, the union of some segments' pixels."""
        several = isinstance(ids, Iterable) and not isinstance(ids, str)
        wanted: Any = self.subject_ids() if ids is None else ids if several else [ids]
        mask = np.zeros(self.segment_map.shape, dtype=bool)
        for one in wanted:
            mask |= self.mask(self.index_of(one))
        return mask
