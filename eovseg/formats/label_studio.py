"""Label Studio: tasks with pre-annotations, one brush region per segment, which preserves holes and separate parts.

A brush region is a bit stream of run lengths, as written by Label Studio's `brush.encode_rle`. Header: number of values
(32 bits), bits per value - 1 (5 bits), four sizes of length fields - 1 (4 bits each). Each run: 1 (1 bit), index of the
field size (2 bits), length - 1 (that many bits), value (8 bits). Each pixel has four equal values (RGBA).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from eovseg.formats.photo import PhotoFile, json_bytes, printable, runs

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto
    from eovseg.vocabulary import Vocabulary

FROM_NAME, TO_NAME, DATA_KEY = "segments", "image", "image"
_LENGTH_BITS = (3, 4, 8, 16)
_LOCAL = "/data/local-files/?d="


def tasks(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """A list of one task for Label Studio's import; the photo's URL points to Label Studio's local storage."""
    address = _LOCAL + quote(photo.name, errors="replace")
    task = {"data": {DATA_KEY: address}, "predictions": [prediction(result)]}
    return json_bytes([task])


def prediction(result: "SegmentedPhoto", labels: Sequence[str] | None = None) -> dict[str, Any]:
    """The prediction for one photo, as in the answer of an ML backend and in an imported task.

    `labels` are the project's names of the vocabulary's classes, by default those of `labelling_config`.
    """
    if labels is None:
        labels = [printable(entry.label) for entry in result.vocabulary.classes]
    height, width = result.segment_map.shape
    regions = [
        {
            "id": f"segment-{segment.id}",
            "from_name": FROM_NAME,
            "to_name": TO_NAME,
            "type": "brushlabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "score": segment.score,
            "value": {"format": "rle", "rle": brush_rle(result.mask(index)), "brushlabels": [labels[segment.class_id]]},
        }
        for index, segment in enumerate(result.segments)
    ]
    scores = [segment.score for segment in result.segments]
    return {"model_version": "EOV-Seg", "score": float(np.mean(scores)) if scores else 0.0, "result": regions}


def labelling_config(vocabulary: "Vocabulary") -> bytes:
    """The labelling interface (XML) for these tasks."""
    labels = "".join(f"    <Label value={quoteattr(printable(entry.label))}/>\n" for entry in vocabulary.classes)
    text = (
        f'<View>\n  <Image name="{TO_NAME}" value="${DATA_KEY}" zoom="true"/>\n'
        f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}  </BrushLabels>\n</View>\n'
    )
    return text.encode("utf-8")


def brush_rle(mask: np.ndarray) -> list[int]:
    """A mask (H, W) bool in Label Studio's run-length encoding for brushes, as a list of bytes."""
    bits = [f"{mask.size * 4:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    for number, pixels in enumerate(runs(mask)):
        left = pixels * 4
        while left:
            length = min(left, 1 << _LENGTH_BITS[-1])
            place = next(place for place, size in enumerate(_LENGTH_BITS) if length <= 1 << size)
            bits.append(f"1{place:02b}{length - 1:0{_LENGTH_BITS[place]}b}{255 * (number % 2):08b}")
            left -= length
    text = "".join(bits)
    return np.packbits(np.frombuffer(text.encode("ascii"), dtype=np.uint8) - ord("0")).tolist()
