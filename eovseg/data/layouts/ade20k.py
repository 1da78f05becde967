"""ADE20K-150, panoptic: the SceneParsing release with panoptic files built from it and the instance release.

    ADEChallengeData2016/  images/{training,validation}/*.jpg
                           annotations/{training,validation}/*.png            class 1-150, 0 = unlabelled; for mIoU
                           annotations_instance/{training,validation}/*.png   R = class of the 100 things, G = instance
                           ade20k_panoptic_{train,val}.json, ade20k_panoptic_{train,val}/*.png   built by `prepare`

The panoptic files are those of Mask2Former and FC-CLIP: classes 0-149, stuff from `annotations`, things from
`annotations_instance` on top. As in those, a stuff segment's `area` includes the pixels covered by things.
"""

from pathlib import Path
from typing import Any

import numpy as np

from eovseg.data.class_table import ClassTable
from eovseg.data.index_masks import ClassMaps, list_photos
from eovseg.data.label_files import check_size, image_size, read_index, read_rgb
from eovseg.data.layouts.building import PanopticBuilder, segment_record
from eovseg.data.layouts.layout import SPLIT_FOLDERS, Layout, Part, home
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError

_VOCABULARY = "ade20k-150"


def _root(root: Path) -> Path:
    return home(root, "images", "ADEChallengeData2016")


def parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos, panoptic files, and the releases from which they are built."""
    root, folder = _root(root), SPLIT_FOLDERS[split]
    return (
        Part(root / "images" / folder, "unpack ADEChallengeData2016.zip"),
        Part(root / f"ade20k_panoptic_{split}.json", f"`eovseg data prepare ade20k ROOT --split {split}` builds it"),
        Part(root / f"ade20k_panoptic_{split}", f"`eovseg data prepare ade20k ROOT --split {split}` builds it"),
        Part(root / "annotations" / folder, "without it, mIoU uses the panoptic segments", needed=False),
        Part(root / "annotations_instance" / folder, "only `prepare` needs it", needed=False),
        Part(root / "objectInfo150.txt", "not read", needed=False),
        Part(root / "sceneCategories.txt", "not read", needed=False),
    )


def open_split(root: Path, split: str) -> PanopticFolder:
    """ADE20K-150; like other tools, mIoU uses the SceneParsing masks if they exist."""
    photos, annotations, pngs, semantic = (part.path for part in parts(root, split)[:4])
    maps = ClassMaps(semantic, ".png", {value: value - 1 for value in range(1, 151)}, [0])
    folder = PanopticFolder(
        root,
        annotations,
        photos,
        pngs,
        name=f"ade20k {split}",
        table=ClassTable.preset(_VOCABULARY),
        class_maps=maps if semantic.is_dir() else None,
    )
    if not semantic.is_dir():
        folder.remarks = ("mIoU is measured on the panoptic segments, because the SceneParsing masks are missing.",)
    return folder


def prepare(root: Path, split: str, output: Path | None) -> str:
    """Builds `ade20k_panoptic_<split>` in the data set's folder or `output`. Raises `DataError` naming the file."""
    root, folder = _root(root), SPLIT_FOLDERS[split]
    photos, semantic, instances = (root / name / folder for name in ("images", "annotations", "annotations_instance"))
    for path, archive in ((semantic, "ADEChallengeData2016.zip"), (instances, "annotations_instance.tar")):
        if not path.is_dir():
            raise DataError(f"{path} is missing; unpack {archive} from {LAYOUT.page}.")
    table = ClassTable.preset(_VOCABULARY)
    things = [category.id for category in table.categories.values() if category.is_thing]

    def make(stem: str) -> tuple[np.ndarray, dict[str, Any]]:
        width, height = image_size(photos / f"{stem}.jpg")
        classes, objects = read_index(semantic / f"{stem}.png"), read_rgb(instances / f"{stem}.png")
        check_size(semantic / f"{stem}.png", classes, width, height)
        check_size(instances / f"{stem}.png", objects, width, height)
        ids = np.zeros((height, width), dtype=np.int32)
        segments: list[dict[str, Any]] = []
        for value in np.unique(classes).tolist():
            if value > len(table.ids):
                raise DataError(f"{semantic / f'{stem}.png'} has the value {value}; classes are 1 to 150.")
            if value == 0 or value - 1 in things:
                continue
            mask = classes == value
            segments.append(segment_record(len(segments) + 1, value - 1, mask))
            ids[mask] = len(segments)
        for instance in np.unique(objects[..., 1]).tolist():
            if instance == 0:
                continue
            mask = objects[..., 1] == instance
            kinds = np.unique(objects[..., 0][mask]).tolist()
            if len(kinds) > 1 or not 1 <= kinds[0] <= len(things):
                path = instances / f"{stem}.png"
                raise DataError(
                    f"{path}: instance {instance} has the classes {kinds}; it needs one class from 1 to 100."
                )
            segments.append(segment_record(len(segments) + 1, things[kinds[0] - 1], mask))
            ids[mask] = len(segments)
        image = {"id": stem, "file_name": f"{stem}.jpg", "width": width, "height": height}
        return ids, {"image": image, "annotation": _annotation(stem, segments)}

    stems = [name.removesuffix(".jpg") for name in list_photos(photos)]
    builder = PanopticBuilder((output or root) / f"ade20k_panoptic_{split}", list(table.categories.values()))
    return builder.build(stems, make)


def _annotation(stem: str, segments: list[dict[str, Any]]) -> dict[str, Any]:
    return {"image_id": stem, "file_name": f"{stem}.png", "segments_info": segments}


LAYOUT = Layout(
    "ade20k", "ADE20K-150 panoptic", "http://sceneparsing.csail.mit.edu", "PQ, AP, mIoU", _VOCABULARY,
    parts, open_split, prepare,
)  # fmt: skip
