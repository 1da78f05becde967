"""Video segmentation with object tracks of stable number and colour, as files or frame by frame.

summary = segment_video(predictor, "walk.mp4", "walk-segments.mp4", "dog; person; grass: stuff")
for frame in segment_frames(predictor, "walk.mp4", "dog; person; grass: stuff"):
    frame.time, frame.track_map, frame.segments, frame.overlay()
"""

from typing import TYPE_CHECKING

from eovseg.lazy_names import lazy_names

if TYPE_CHECKING:
    from eovseg.video.files import Summary, segment_video
    from eovseg.video.frames import Frame, FrameSegmenter, segment_frames
    from eovseg.video.reading import Picture, VideoReader
    from eovseg.video.tracker import TrackedSegment, Tracker
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "eovseg.video.files": ("Summary", "segment_video"),
            "eovseg.video.frames": ("Frame", "FrameSegmenter", "segment_frames"),
            "eovseg.video.reading": ("Picture", "VideoReader"),
            "eovseg.video.tracker": ("TrackedSegment", "Tracker"),
        },
    )

__all__ = [
    "Frame",
    "FrameSegmenter",
    "Picture",
    "Summary",
    "TrackedSegment",
    "Tracker",
    "VideoReader",
    "segment_frames",
    "segment_video",
]
