"""Pictures of a result as files: the `content` functions of `eovseg.formats.PICTURES`."""

import io
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from eovseg.formats.photo import PhotoFile, png_bytes
from eovseg.stems import clean_stem

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto

# Draws a picture of a result with the segments `ids` in the foreground, by default the result's subject.
DRAWN: dict[str, Callable[["SegmentedPhoto", Collection[int] | None], Image.Image]] = {
    "spotlight": lambda result, ids: result.spotlight(ids),
    "blurred": lambda result, ids: result.blurred_background(ids),
    "grey": lambda result, ids: result.grey_background(ids),
    "outlines": lambda result, ids: result.outlines(),
}


def content(kind: str) -> Callable[["SegmentedPhoto", PhotoFile, Path], bytes]:
    """The `content` function that writes a picture of `DRAWN` as PNG."""
    return lambda result, photo, path: png_bytes(DRAWN[kind](result, None))


def cutouts(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """A ZIP with a transparent PNG for each named segment, named "ID NAME.png"; equal results give identical bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for segment, (name, picture) in zip(result.named, result.cutouts().items(), strict=True):
            file.writestr(zipfile.ZipInfo(f"{segment.id:02d} {clean_stem(name)}.png"), png_bytes(picture))
    return packed.getvalue()
