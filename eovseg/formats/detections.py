"""A result as `supervision.Detections`; the library is imported only when it is used."""

from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.errors import EovsegError

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto


def to_supervision(result: "SegmentedPhoto") -> Any:
    """`supervision.Detections`: boxes (exclusive ends), masks (n, H, W), `confidence`, `class_id`, and data.

    `class_id` is the index in the vocabulary, and `tracker_id` is empty; `data` contains `class_name`, the segments'
    unique `segment_name` and `is_thing`. Raises `EovsegError` if supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise EovsegError("to_supervision needs the package supervision: pip install supervision") from error
    segments = result.segments
    return supervision.Detections(
        xyxy=np.array([segment.box for segment in segments], dtype=np.float32).reshape(-1, 4),
        mask=result.masks(),
        confidence=np.array([segment.score for segment in segments], dtype=np.float32),
        class_id=np.array([segment.class_id for segment in segments], dtype=int),
        data={
            "class_name": np.array([segment.label for segment in segments], dtype=str),
            "segment_name": np.array(result.names, dtype=str),
            "is_thing": np.array([segment.is_thing for segment in segments], dtype=bool),
        },
    )
