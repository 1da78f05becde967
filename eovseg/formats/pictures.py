"""Pictures of a result as files: `content(result, photo, path)` of each, as `eovseg.formats.PICTURES` calls it."""

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

# A picture of a result with the segments `ids` in front, by default the result's subject.
DRAWN: dict[str, Callable[["SegmentedPhoto", Collection[int] | None], Image.Image]] = {
    "spotlight": lambda result, ids: result.spotlight(ids),
    "blurred": lambda result, ids: result.blurred_background(ids),
    "grey": lambda result, ids: result.grey_background(ids),
    "outlines": lambda result, ids: result.outlines(),
}


def content(kind: str) -> Callable[["SegmentedPhoto", PhotoFile, Path], bytes]:
    """The PNG of a picture of `DRAWN`."""
    return lambda result, photo, path: png_bytes(DRAWN[kind](result, None))


def cutouts(result: "SegmentedPhoto", photo: PhotoFile, path: Path) -> bytes:
    """A ZIP with a transparent PNG for each named segment, "ID NAME.png"; equal results give equal bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for segment, (name, picture) in zip(result.named, result.cutouts().items(), strict=True):
            file.writestr(zipfile.ZipInfo(f"{segment.id:02d} {clean_stem(name)}.png"), png_bytes(picture))
    return packed.getvalue()
