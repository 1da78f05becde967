"""Helpers of the formats: references to photos, cropped masks, run lengths, and encoding of text, JSON and PNG."""

import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto

_UNPRINTABLE = re.compile(r"[^\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class PhotoFile:
    """The photo that a file refers to: its `name`, relative to the folder of photos, and its `path` if known."""

    name: str
    path: Path | None = None

    def relative_path(self, folder: Path) -> str:
        """The photo's path relative to `folder`, or only its file name if the path is not known."""
        if self.path is None:
            return Path(self.name).name
        try:
            return Path(os.path.relpath(self.path.resolve(), folder.resolve())).as_posix()
        except ValueError:  # on another drive (Windows)
            return self.path.resolve().as_posix()


def crop(result: "SegmentedPhoto", index: int) -> tuple[np.ndarray, int, int]:
    """The mask of `segments[index]` (h, w) bool, cropped to its pixels, and the x, y of its upper left corner."""
    if result.instance_masks is not None:
        mask = result.instance_masks.crops[index]
        return mask.pixels(), mask.box[0], mask.box[1]
    segment = result.segments[index]
    x0, y0, x1, y1 = segment.box
    return crop_mask(result.segment_map[y0:y1, x0:x1] == segment.id, x0, y0)


def crop_mask(mask: np.ndarray, x: int = 0, y: int = 0) -> tuple[np.ndarray, int, int]:
    """Crops `mask` (h, w) bool, whose upper left corner is at (x, y), to its pixels; returns it and its new corner.

    An empty mask becomes 0 rows and 0 columns.
    """
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return mask[:0, :0], x, y
    top, left = int(rows[0]), int(columns[0])
    return mask[top : rows[-1] + 1, left : columns[-1] + 1], x + left, y + top


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask (H, W) bool in row order, alternating; the first counts False pixels and may be 0."""
    flat = np.concatenate([[False], mask.ravel()])
    borders = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(np.concatenate([[0], borders, [mask.size]]))]


def printable(text: str) -> str:
    """Text that is valid in XML 1.0 and YAML: control characters, lone surrogates, U+FFFE and U+FFFF become "?"."""
    return _UNPRINTABLE.sub("?", text)


def json_bytes(document: Any) -> bytes:
    """JSON as UTF-8. Invalid UTF-8 in a photo's name, which Python represents as lone surrogates, becomes "?"."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
