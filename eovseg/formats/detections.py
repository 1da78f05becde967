"""Results as the objects of other Python libraries; each library is imported only when it is asked for."""

from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.errors import EovsegError
from eovseg.formats.photo import crop

if TYPE_CHECKING:
    from eovseg.result import Result


def to_supervision(result: "Result") -> Any:
    """`supervision.Detections`: boxes (exclusive ends), masks (n, H, W), `confidence`, `class_id`, and data.

    `class_id` is the class's place in the words, `tracker_id` stays empty; `data` holds `class_name`, the segments'
    unique `segment_name` and `is_thing`. Raises `EovsegError` where supervision is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise EovsegError("to_supervision needs the package supervision: pip install supervision") from error
    segments = result.segments
    if not segments:
        return supervision.Detections.empty()
    return supervision.Detections(
        xyxy=np.array([segment.box for segment in segments], dtype=np.float32),
        mask=result.masks(),
        confidence=np.array([segment.score for segment in segments], dtype=np.float32),
        class_id=np.array([segment.class_id for segment in segments], dtype=int),
        data={
            "class_name": np.array([segment.label for segment in segments]),
            "segment_name": np.array(result.names),
            "is_thing": np.array([segment.is_thing for segment in segments]),
        },
    )


def to_fiftyone(result: "Result") -> Any:
    """`fiftyone.Detections`: a box and the mask inside it for each segment, in shares of the photo.

    Raises `EovsegError` where FiftyOne is not installed.
    """
    try:
        import fiftyone
    except ImportError as error:
        raise EovsegError("to_fiftyone needs the package fiftyone: pip install fiftyone") from error
    height, width = result.segment_map.shape
    found = []
    for index, segment in enumerate(result.segments):
        mask, left, top = crop(result, index)
        if mask.size:
            box = [left / width, top / height, mask.shape[1] / width, mask.shape[0] / height]
            found.append(
                fiftyone.Detection(label=segment.label, bounding_box=box, mask=np.array(mask), confidence=segment.score)
            )
    return fiftyone.Detections(detections=found)
