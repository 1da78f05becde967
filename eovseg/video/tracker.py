"""Tracks segments across frames, with stable numbers, colours and names.

Things are matched one-to-one (Hungarian algorithm) by mask IoU, in rounds: the same class at the position predicted
from the track's speed; the same class near that position (reappearing after an occlusion); the same class at the last
position; and finally any class with a large overlap. A track without a match waits for a few frames. A mask that is
much smaller than before is treated as partly occluded: the track keeps its previous shape and speed. Stuff, and every
class in the task "semantic", is one track per class and needs no matching.

Within a track, the classes of its segments vote: each frame adds its score to its class, and older votes decay. The
name changes when another class clearly leads, which takes about five consecutive segmented frames for an old track and
fewer for a new one; number and colour do not change.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from eovseg.choices import TRACK_MEMORY
from eovseg.colours import free_colour
from eovseg.errors import ConfigError
from eovseg.result import Result
from eovseg.segmented import Segment

SAME_CLASS_IOU = 0.2
MIN_OVERLAP = 0.5  # minimum IoU for any class, and minimum fraction of a segment inside the predicted box of a track
_OCCLUDED_BELOW = 0.8  # a mask below this fraction of the recent area is partly occluded
_MIN_REAPPEARING = 0.1  # minimum fraction of a track's area for a reappearing segment
_DECAY = 0.9  # per frame: weight of a match after waiting or partial occlusion, and decay of the recent area
_FULL_WEIGHT_FRAMES = 10  # frames after which a track has full weight; a new one has half
_VOTE_DECAY = 0.8  # decay of the votes per frame
_CLEAR_LEAD = 1.5
_GRID_SIDE = 1024  # masks of larger frames are subsampled


@dataclass(frozen=True)
class TrackedSegment:
    """A segment of one frame and its track.

    `track` is the track's number, from 1, and its id in the frame's map; `name` is unique in the video ("person 2",
    "sky"); `label`, `class_id` and `is_thing` are the voted class; `colour` is RGB. `segment` is the result of this
    frame alone: class, scores, area and box in pixels.
    """

    track: int
    name: str
    label: str
    class_id: int
    is_thing: bool
    colour: tuple[int, int, int]
    segment: Segment


@dataclass(eq=False)
class _Shape:
    """A mask (h, w) bool, cropped at row `top` and column `left` of the grid."""

    mask: np.ndarray
    top: int
    left: int

    @cached_property
    def area(self) -> int:
        return int(self.mask.sum())

    @cached_property
    def places(self) -> np.ndarray:
        """(3, 2): first, mean and last row and column."""
        rows, columns = (np.repeat(np.arange(n), self.mask.sum(1 - axis)) for axis, n in enumerate(self.mask.shape))
        ends = np.array(self.mask.shape) - 1.0
        corner = np.array([self.top, self.left])
        return corner + np.stack([np.zeros(2), np.array([rows.mean(), columns.mean()]), ends])

    def enlarged_box(self) -> "_Shape":
        """The box of this shape, enlarged by a quarter on each side."""
        height, width = self.mask.shape
        more = -(-height // 4), -(-width // 4)
        box = np.ones((height + 2 * more[0], width + 2 * more[1]), dtype=bool)
        return _Shape(box, self.top - more[0], self.left - more[1])

    def shifted(self, by: np.ndarray) -> "_Shape":
        return _Shape(self.mask, self.top + round(float(by[0])), self.left + round(float(by[1])))

    def pixels_per_segment(self, indices: np.ndarray, count: int) -> np.ndarray:
        """(1 + count,): pixels of each segment of the grid `indices` (H, W) under this mask; index 0 = no segment."""
        rows = slice(max(self.top, 0), max(self.top + self.mask.shape[0], 0))
        columns = slice(max(self.left, 0), max(self.left + self.mask.shape[1], 0))
        below = indices[rows, columns]
        skipped = rows.start - self.top, columns.start - self.left
        mask = self.mask[skipped[0] : skipped[0] + below.shape[0], skipped[1] : skipped[1] + below.shape[1]]
        return np.bincount(below[mask], minlength=count + 1)


@dataclass(eq=False)
class _Track:
    number: int
    class_id: int
    label: str
    is_thing: bool
    colour: np.ndarray
    votes: dict[int, float] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)  # the number in its name for each class it had
    last_class: int = -1
    shape: _Shape | None = None
    area: float = 0.0  # recent area, in grid pixels
    speed: np.ndarray = field(default_factory=lambda: np.zeros(2))  # grid rows and columns per frame
    seen: int = 0
    missed: int = 0
    hidden: int = 0

    @property
    def match_weight(self) -> float:
        """Weight of a match with this track, which prefers older and visible tracks."""
        return float(_DECAY ** (self.missed + min(self.hidden, 1)) * (1 + min(self.seen / _FULL_WEIGHT_FRAMES, 1)) / 2)

    def predicted(self) -> _Shape:
        assert self.shape is not None, "things have a shape from their first frame on"
        return self.shape.shifted(self.speed * (self.missed + 1))

    def update(self, shape: _Shape, memory: int) -> None:
        """Updates the track with the mask of the current frame."""
        if self.shape is None:
            self.shape, self.area = shape, float(shape.area)
        elif self.hidden < memory and shape.area < _OCCLUDED_BELOW * self.area:
            self.shape, self.hidden = self.predicted(), self.hidden + 1
        else:
            if not self.hidden:
                self._update_speed((shape.places - self.shape.places) / (self.missed + 1))
            late = 0.0 if self.hidden >= memory else _DECAY * self.area  # a smaller area that lasts is accepted
            self.shape, self.hidden, self.area = shape, 0, max(float(shape.area), late)
        self.missed = 0
        self.seen += 1

    def _update_speed(self, steps: np.ndarray) -> None:
        """Updates the speed with the steps (3, 2) of first, mean and last row and column. Occlusion and noise distort
        some of these, so the one closest to the current speed is used."""
        likely = np.abs(steps - self.speed).argmin(0)
        self.speed = (self.speed + steps[likely, [0, 1]]) / 2

    def vote(self, segment: Segment) -> None:
        self.votes = {name: votes * _VOTE_DECAY for name, votes in self.votes.items()}
        self.votes[segment.class_id] = self.votes.get(segment.class_id, 0.0) + segment.score
        self.last_class = segment.class_id
        leads = self.votes[segment.class_id] > _CLEAR_LEAD * self.votes.get(self.class_id, 0.0)
        if leads and segment.class_id != self.class_id:
            self.class_id, self.label = segment.class_id, segment.label


class Tracker:
    """Tracks the segments of a video; call `update` with the result of each frame in order.

    `memory`: for how many frames a thing may be missing without losing its track. Stuff always keeps its track.
    Raises `ConfigError` if it is negative.
    """

    def __init__(self, memory: int = TRACK_MEMORY) -> None:
        if memory < 0:
            raise ConfigError(f"memory={memory} is not allowed; give a number of frames, at least 0.")
        self._memory = memory
        self._things: list[_Track] = []
        self._stuff: dict[int, _Track] = {}
        self._count = 0
        self._numbers: dict[int, int] = {}

    @property
    def count(self) -> int:
        """Number of tracks so far."""
        return self._count

    def update(self, result: Result) -> tuple[np.ndarray, tuple[TrackedSegment, ...]]:
        """The next frame's map of track numbers (H, W) int32, 0 = none, and its segments in the result's order.

        Completely covered instances are omitted.
        """
        segments = result.segments
        ids = np.array([segment.id for segment in segments], dtype=np.int64)
        top = max(int(ids.max(initial=0)), int(result.segment_map.max(initial=0)))
        position = np.zeros(top + 1, dtype=np.int32)
        position[ids] = np.arange(1, len(ids) + 1)
        step = -(-max(result.segment_map.shape) // _GRID_SIDE)
        grid = position[result.segment_map[step // 2 :: step, step // 2 :: step]]
        by_class = [not segment.is_thing or result.task == "semantic" for segment in segments]
        visible = np.bincount(result.segment_map.ravel(), minlength=top + 1)[ids] > 0
        tracks: list[_Track | None] = [None] * len(segments)
        for index, segment in enumerate(segments):
            if by_class[index] and visible[index]:
                tracks[index] = self._stuff_track(segment)
        things = [index for index in range(len(segments)) if visible[index] and not by_class[index]]
        for index, track in self._match_things(grid, segments, things).items():
            tracks[index] = track
        lookup = np.zeros(top + 1, dtype=np.int32)
        found = [(segment, track) for segment, track in zip(segments, tracks, strict=True) if track is not None]
        lookup[[segment.id for segment, _ in found]] = [track.number for _, track in found]
        return lookup[result.segment_map], tuple(self._described(track, segment) for segment, track in found)

    def _match_things(self, grid: np.ndarray, segments: tuple[Segment, ...], things: list[int]) -> dict[int, _Track]:
        """The matched or new track of each of `things`; drops tracks that have waited too long."""
        shapes = _shapes(grid, len(segments), things)
        # A thing without a pixel on the grid cannot be matched and gets a track of its own.
        seen = [index for index in things if index in shapes]
        found: dict[int, _Track] = {}
        for row, column in self._matches(grid, segments, seen):
            found[seen[column]] = self._things[row]
        waiting = {id(track) for track in self._things} - {id(track) for track in found.values()}
        for track in self._things:
            track.missed += id(track) in waiting
        self._things = [track for track in self._things if track.missed <= self._memory]
        for index in things:
            if index not in found:
                found[index] = self._new(segments[index], is_thing=True)
                if index in shapes:
                    self._things.append(found[index])
            if index in shapes:
                found[index].update(shapes[index], self._memory)
            found[index].vote(segments[index])
        return found

    def _matches(self, grid: np.ndarray, segments: tuple[Segment, ...], things: list[int]) -> list[tuple[int, int]]:
        """One-to-one pairs of indices of tracks and of `things`."""
        if not things or not self._things:
            return []
        areas = np.bincount(grid.ravel(), minlength=len(segments) + 1)[1:][things]
        ahead = np.stack([track.predicted().pixels_per_segment(grid, len(segments)) for track in self._things])
        resting = np.stack(
            [track.shape.pixels_per_segment(grid, len(segments)) for track in self._things if track.shape]
        )
        common = ahead[:, 1:][:, things]
        overlap = common / np.maximum(ahead.sum(1, keepdims=True) + areas - common, 1)
        boxes = np.stack(
            [track.predicted().enlarged_box().pixels_per_segment(grid, len(segments)) for track in self._things]
        )
        inside = boxes[:, 1:][:, things] / areas
        gone = np.array([track.missed + track.hidden > 0 for track in self._things])[:, None]
        size = np.array([track.area for track in self._things])[:, None]
        appears = gone & (areas >= _MIN_REAPPEARING * size)  # prevents large tracks from matching specks
        common = resting[:, 1:][:, things]
        behind = common / np.maximum(resting.sum(1, keepdims=True) + areas - common, 1)
        classes = np.array([segments[index].class_id for index in things])
        own = np.array([(track.class_id, track.last_class) for track in self._things])
        same = (own[:, :, None] == classes).any(1)
        match_weight = np.array([track.match_weight for track in self._things])[:, None]
        rounds = (
            (overlap * same, SAME_CLASS_IOU),
            (inside * (same & appears), MIN_OVERLAP),
            (behind * same, SAME_CLASS_IOU),
            (overlap, MIN_OVERLAP),
        )
        return _match_in_rounds([(np.where(values >= least, values * match_weight, 0.0)) for values, least in rounds])

    def _stuff_track(self, segment: Segment) -> _Track:
        if segment.class_id not in self._stuff:
            self._stuff[segment.class_id] = self._new(segment, is_thing=False)
        return self._stuff[segment.class_id]

    def _new(self, segment: Segment, is_thing: bool) -> _Track:
        self._count += 1
        taken = [(track.label, track.colour) for track in (*self._stuff.values(), *self._things)]
        colour = free_colour(segment.label, taken)
        return _Track(self._count, segment.class_id, segment.label, is_thing, colour)

    def _described(self, track: _Track, segment: Segment) -> TrackedSegment:
        name = track.label
        if track.is_thing:
            if track.class_id not in track.numbers:
                self._numbers[track.class_id] = self._numbers.get(track.class_id, 0) + 1
                track.numbers[track.class_id] = self._numbers[track.class_id]
            name = f"{track.label} {track.numbers[track.class_id]}"
        red, green, blue = (int(value) for value in track.colour)
        return TrackedSegment(
            track.number, name, track.label, track.class_id, segment.is_thing, (red, green, blue), segment
        )


def _shapes(grid: np.ndarray, count: int, wanted: list[int]) -> dict[int, _Shape]:
    """Masks of the `wanted` segments (0-based) that have a pixel on the grid (H, W), whose values are 1-based."""
    boxes = ndimage.find_objects(grid, max_label=count)
    cut = {index: boxes[index] for index in wanted if boxes[index]}
    return {index: _Shape(grid[box] == index + 1, box[0].start, box[1].start) for index, box in cut.items()}


def _match_in_rounds(tables: list[np.ndarray]) -> list[tuple[int, int]]:
    """One-to-one pairs (row, column) that maximise the sum in the first table, then, for the remaining rows and
    columns, in the next one; entries of 0 are never matched."""
    pairs: list[tuple[int, int]] = []
    for table in tables:
        left = table.copy()
        for row, column in pairs:
            left[row, :] = left[:, column] = 0
        rows, columns = linear_sum_assignment(left, maximize=True)
        pairs += [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if left[row, column] > 0]
    return pairs
