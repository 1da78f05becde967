"""Cityscapes, panoptic: leftImg8bit and gtFine, with the panoptic files of Cityscapes' own converter.

    cityscapes/  leftImg8bit/{train,val}/<city>/*_leftImg8bit.png                  leftImg8bit_trainvaltest.zip
                 gtFine/{train,val}/<city>/*_gtFine_instanceIds.png                gtFine_trainvaltest.zip
                 gtFine/cityscapes_panoptic_{train,val}.json
                 gtFine/cityscapes_panoptic_{train,val}/*_gtFine_panoptic.png
                     both built by `prepare`, or by createPanopticImgs.py of cityscapesscripts

instanceIds.png contains label * 1000 + instance for single things, and just the label for stuff and for groups of
things (crowds). The panoptic files use these values as ids; labels outside the 19 classes are void.
"""

from pathlib import Path
from typing import Any

import numpy as np

from eovseg.data.class_table import ClassTable
from eovseg.data.label_files import check_size, image_size, read_index
from eovseg.data.layouts.building import PanopticBuilder, segment_record
from eovseg.data.layouts.layout import Layout, Part, home
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError
from eovseg.photo_folders import walk

_VOCABULARY = "cityscapes-19"
_LARGEST_LABEL = 33


def _root(root: Path) -> Path:
    return home(root, "gtFine", "cityscapes")


def parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos, panoptic files and the masks from which they are built."""
    root = _root(root)
    build = f"`eovseg data prepare cityscapes ROOT --split {split}` builds it"
    return (
        Part(root / "leftImg8bit" / split, "unpack leftImg8bit_trainvaltest.zip"),
        Part(root / "gtFine" / f"cityscapes_panoptic_{split}.json", build),
        Part(root / "gtFine" / f"cityscapes_panoptic_{split}", build),
        Part(root / "gtFine" / split, "only `prepare` needs it", needed=False),
    )


def open_split(root: Path, split: str) -> PanopticFolder:
    """Cityscapes with fine annotations."""
    photos, annotations, pngs, _ = (part.path for part in parts(root, split))
    return PanopticFolder(
        root,
        annotations,
        photos,
        pngs,
        name=f"cityscapes {split}",
        table=ClassTable.preset(_VOCABULARY),
        photo_path=lambda record: _photo(str(record["id"])),  # the JSON names a file that does not exist
    )


def _photo(stem: str) -> str:
    return f"{stem.split('_')[0]}/{stem}_leftImg8bit.png"


def prepare(root: Path, split: str, output: Path | None) -> str:
    """Builds `cityscapes_panoptic_<split>` in gtFine or `output`. Raises `DataError` naming the file."""
    root = _root(root)
    masks, photos = root / "gtFine" / split, root / "leftImg8bit" / split
    suffix = "_gtFine_instanceIds.png"
    stems = sorted(name[: -len(suffix)] for _, name in walk(masks, suffixes=(suffix,)))
    if not stems:
        raise DataError(f"{masks} has no <city>/*{suffix}; unpack gtFine_trainvaltest.zip from {LAYOUT.page}.")
    table = ClassTable.preset(_VOCABULARY)

    def make(stem: str) -> tuple[np.ndarray, dict[str, Any]]:
        path = masks / stem.split("_")[0] / f"{stem}{suffix}"
        values = read_index(path).astype(np.int32)
        width, height = image_size(photos / _photo(stem))
        check_size(path, values, width, height)
        segments = []
        for value in np.unique(values).tolist():
            label, crowd = (value // 1000, False) if value >= 1000 else (value, True)
            if not 0 <= label <= _LARGEST_LABEL and value != -1:
                raise DataError(f"{path} has the value {value}; labels are 0 to {_LARGEST_LABEL}.")
            category = table.categories.get(label)
            if category is None:
                values[values == value] = 0
            else:
                segments.append(segment_record(value, label, values == value, crowd and category.is_thing))
        name = f"{stem}_gtFine"
        image = {"id": stem, "file_name": f"{name}_leftImg8bit.png", "width": width, "height": height}
        annotation = {"image_id": stem, "file_name": f"{name}_panoptic.png", "segments_info": segments}
        return values, {"image": image, "annotation": annotation}

    target = (output or root / "gtFine") / f"cityscapes_panoptic_{split}"
    return PanopticBuilder(target, list(table.categories.values())).build(stems, make)


LAYOUT = Layout(
    "cityscapes", "Cityscapes panoptic", "https://www.cityscapes-dataset.com/downloads/", "PQ, AP, mIoU", _VOCABULARY,
    parts, open_split, prepare,
)  # fmt: skip
