"""What formats ask of a result besides its segments: which photo it shows, and masks without the empty photo around."""

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
    """The photo that a file of a format names: `name` below the folder of photos, `path` where it is known."""

    name: str
    path: Path | None = None

    def seen_from(self, folder: Path) -> str:
        """The photo's path as a file in `folder` names it; its bare name where nobody knows where it lies."""
        if self.path is None:
            return Path(self.name).name
        try:
            return Path(os.path.relpath(self.path.resolve(), folder.resolve())).as_posix()
        except ValueError:  # another drive of Windows
            return self.path.resolve().as_posix()


def crop(result: "SegmentedPhoto", index: int) -> tuple[np.ndarray, int, int]:
    """The mask of `segments[index]` (h, w) bool, cut to its pixels, and the x, y of its upper left pixel."""
    if result.instance_masks is not None:
        mask = result.instance_masks.crops[index]
        return mask.pixels(), mask.box[0], mask.box[1]
    segment = result.segments[index]
    x0, y0, x1, y1 = segment.box
    return tight(result.segment_map[y0:y1, x0:x1] == segment.id, x0, y0)


def tight(mask: np.ndarray, x: int = 0, y: int = 0) -> tuple[np.ndarray, int, int]:
    """`mask` (h, w) bool whose upper left pixel is (x, y) of the photo, cut to its pixels; 0 x 0 where it has none."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return mask[:0, :0], x, y
    top, left = int(rows[0]), int(columns[0])
    return mask[top : rows[-1] + 1, left : columns[-1] + 1], x + left, y + top


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask (H, W) bool row after row; the first counts pixels outside and may be 0."""
    flat = np.concatenate([[False], mask.ravel()])
    borders = np.flatnonzero(flat[1:] != flat[:-1])
    return [int(length) for length in np.diff(np.concatenate([[0], borders, [mask.size]]))]


def printable(text: str) -> str:
    """Text that XML 1.0 and YAML can hold: control characters, lone surrogates, U+FFFE and U+FFFF become "?"."""
    return _UNPRINTABLE.sub("?", text)


def json_bytes(document: Any) -> bytes:
    """JSON as UTF-8. A photo's name may hold bytes that are no UTF-8, kept as lone surrogates: they become "?"."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def png_bytes(picture: Image.Image) -> bytes:
    """The PNG file of a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
