"""One photo and its files for a tool as a ZIP, ready to be unpacked and opened."""

import io
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from PIL import Image

from eovseg.formats import label_studio, path_of
from eovseg.formats.photo import PhotoFile
from eovseg.stems import clean_stem

if TYPE_CHECKING:
    from eovseg.result import Result

_QUALITY = 95


def archive(result: "Result", kind: str) -> bytes:
    """The ZIP of `kind` (a name of `FORMATS`).

    The photo is a JPEG of the size that was segmented, in `yolo/images` for YOLO, else at the top level. For Label
    Studio, the labelling interface is included.
    """
    stem = clean_stem(PurePath(result.name).stem)
    photo = PurePath("yolo/images" if kind == "yolo" else ".") / f"{stem}.jpg"
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="eovseg-") as home, zipfile.ZipFile(packed, "w") as file:
        folder = Path(home)
        (folder / photo).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(result.image).save(folder / photo, quality=_QUALITY, subsampling=0)
        replace(result, name=photo.name).write(folder, stem, (kind,), PhotoFile(photo.name, folder / photo))
        if kind == "label-studio":
            (folder / path_of(kind, stem)).with_suffix(".xml").write_bytes(
                label_studio.labelling_config(result.vocabulary)
            )
        add_files(file, folder)
    return packed.getvalue()


def add_files(packed: zipfile.ZipFile, folder: Path) -> None:
    """Adds all files below `folder` to a ZIP; pictures and videos are already compressed."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stored = path.suffix in (".jpg", ".png", ".mp4")
            method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            packed.write(path, path.relative_to(folder).as_posix(), method)
