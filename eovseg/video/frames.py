"""Frame-by-frame video segmentation: the segments of each frame and their tracks."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np
from PIL import Image

from eovseg.choices import TRACK_MEMORY
from eovseg.errors import ConfigError
from eovseg.overlay import draw_overlay
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.settings import Settings, SettingsArguments
from eovseg.video.reading import Picture, VideoReader
from eovseg.video.tracker import TrackedSegment, Tracker
from eovseg.vocabulary import Vocabulary


class _Drawn(NamedTuple):
    id: int
    label: str


@dataclass(frozen=True, eq=False, repr=False)
class Frame:
    """One frame of a video and its segments.

    `image` (H, W, 3) uint8 RGB, upright. `track_map` (H, W) int32: the segment's track number, 0 = unlabelled.
    `segments` are in the order of `result.segments`. `index` counts from the first frame read, `time` is in seconds
    from the video's start. `is_new` is False if the segments are from an earlier frame (`every` > 1).
    """

    image: np.ndarray
    index: int
    time: float
    track_map: np.ndarray
    segments: tuple[TrackedSegment, ...]
    result: Result
    is_new: bool

    def __repr__(self) -> str:
        return f"Frame({self.index}, {self.time:.3f} s, {len(self.segments)} segments)"

    def overlay(self, opacity: float = 0.5, labels: bool = True) -> Image.Image:
        """The frame with its segments drawn over it, with the colours and names of their tracks."""
        # "other" is not tinted, as in photos.
        hidden = self.result.segments[-1].id if self.result.background else None
        shown = [segment for segment in self.segments if segment.segment.id != hidden]
        once = {segment.track: segment for segment in shown}
        drawn = [_Drawn(segment.track, segment.name) for segment in once.values()]
        colours = np.array([segment.colour for segment in once.values()], dtype=np.uint8).reshape(-1, 3)
        return draw_overlay(self.image, self.track_map, drawn, opacity, labels, colours=colours)

    def to_json(self) -> dict[str, Any]:
        """Time, tracks, classes, scores, areas in pixels and boxes (x0, y0, x1, y1) as plain values for json.dumps."""
        return {
            "frame": self.index,
            "time": round(self.time, 6),
            "segments": [
                {
                    "track": tracked.track,
                    "name": tracked.name,
                    "label": tracked.label,
                    "class_id": tracked.class_id,
                    "is_thing": tracked.is_thing,
                    "label_in_frame": tracked.segment.label,
                    "score": tracked.segment.score,
                    "area": tracked.segment.area,
                    "box": list(tracked.segment.box),
                }
                for tracked in self.segments
            ],
        }


class FrameSegmenter:
    """Segments every `every`-th picture of a video, in order; the others reuse the segments of the previous one.

    Raises `ConfigError` if `every` is less than 1.
    """

    def __init__(
        self,
        predictor: Predictor,
        vocabulary: Vocabulary | str,
        background: Vocabulary | str | None = None,
        *,
        every: int = 1,
        memory: int = TRACK_MEMORY,
        settings: Settings | None = None,
    ) -> None:
        if every < 1:
            raise ConfigError(
                f"every={every} is not allowed; give 1 to segment all frames, 2 for every second frame, ..."
            )
        self._predictor = predictor
        self._vocabulary = Vocabulary.coerce(vocabulary, apart_from=background)
        self._background = None if background is None else Vocabulary.coerce(background, apart_from=self._vocabulary)
        self._every = every
        self._settings = settings
        self._tracker = Tracker(memory)
        self._held: Frame | None = None

    @property
    def tracks(self) -> int:
        """Number of tracks so far."""
        return self._tracker.count

    def __call__(self, picture: Picture) -> Frame:
        """The next picture with its segments."""
        held = self._held
        if picture.index % self._every == 0 or held is None:
            words, chosen = self._vocabulary, self._settings
            # Frames do not repeat, so they bypass the photo cache.
            result = self._predictor(picture.image, words, background=self._background, keep=False, settings=chosen)
            track_map, segments = self._tracker.update(result)
            frame = Frame(picture.image, picture.index, picture.time, track_map, segments, result, True)
        else:
            frame = Frame(picture.image, picture.index, picture.time, held.track_map, held.segments, held.result, False)
        self._held = frame
        return frame


def segment_frames(
    predictor: Predictor,
    source: str | Path,
    vocabulary: Vocabulary | str,
    *,
    background: Vocabulary | str | None = None,
    every: int = 1,
    start: float | None = None,
    end: float | None = None,
    memory: int = TRACK_MEMORY,
    **given: Unpack[SettingsArguments],
) -> Iterator[Frame]:
    """Yields the frames of the video `source` with their tracked segments, in bounded memory.

    `start` and `end` are in seconds; every `every`-th frame is segmented, the others reuse its segments. A thing keeps
    its track if it is missing for up to `memory` segmented frames. `background` and the settings are those of
    `Predictor.__call__`. Raises `VideoError` if the file is not a video, and `ConfigError` for invalid settings.

        for frame in segment_frames(eovseg.load("xs"), "walk.mp4", "dog; grass: stuff", every=5):
            print(frame.time, [segment.name for segment in frame.segments])
    """
    settings = Settings.chosen(given.pop("settings", None), **given)
    segmenter = FrameSegmenter(predictor, vocabulary, background, every=every, memory=memory, settings=settings)
    with VideoReader(source, start, end) as reader, closing(reader.read()) as pictures:
        for picture in pictures:
            if isinstance(picture, Picture):
                yield segmenter(picture)
