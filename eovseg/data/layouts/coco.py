"""COCO 2017, panoptic and instances.

coco/  train2017/ val2017/                      photos (train2017.zip, val2017.zip)
       annotations/panoptic_{train,val}2017.json      (panoptic_annotations_trainval2017.zip)
       annotations/instances_{train,val}2017.json     (annotations_trainval2017.zip)
       panoptic_{train,val}2017/*.png   the two zips inside the panoptic archive, unpacked here or in annotations/
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from eovseg.data.class_table import ClassTable
from eovseg.data.coco_instances import InstanceFile, InstanceFolder
from eovseg.data.labelled_folder import Photo
from eovseg.data.layouts.layout import Layout, Part, home
from eovseg.data.panoptic_folder import PanopticFolder

_PAGE = "https://cocodataset.org/#download"
_VOCABULARY = "coco-panoptic-133"


def _root(root: Path) -> Path:
    return home(root, "annotations", "coco")


def _photos(root: Path, split: str) -> Part:
    return Part(_root(root) / f"{split}2017", f"unpack {split}2017.zip")


def _instances(root: Path, split: str, needed: bool) -> Part:
    purpose = "unpack annotations_trainval2017.zip" + ("" if needed else "; without it, AP uses the panoptic segments")
    return Part(_root(root) / "annotations" / f"instances_{split}2017.json", purpose, needed)


def _pngs(root: Path, split: str) -> Path:
    return home(_root(root), f"panoptic_{split}2017", "annotations") / f"panoptic_{split}2017"


def panoptic_parts(root: Path, split: str) -> tuple[Part, ...]:
    """The photos, the panoptic JSON and PNGs, and the instances used for AP."""
    return (
        _photos(root, split),
        Part(
            _root(root) / "annotations" / f"panoptic_{split}2017.json", "unpack panoptic_annotations_trainval2017.zip"
        ),
        Part(_pngs(root, split), f"unpack annotations/panoptic_{split}2017.zip, a zip inside the panoptic archive"),
        _instances(root, split, needed=False),
    )


def open_panoptic(root: Path, split: str) -> PanopticFolder:
    """COCO panoptic: 133 classes; AP uses the instance annotations if they exist."""
    photos, annotations, pngs, instances = (part.path for part in panoptic_parts(root, split))
    table = ClassTable.preset(_VOCABULARY)
    folder = PanopticFolder(
        root,
        annotations,
        photos,
        pngs,
        name=f"coco-panoptic {split}",
        table=table,
        instances=InstanceFile(instances, table) if instances.is_file() else None,
    )
    folder.photos = _with_coco_ids(folder.photos)
    if not instances.is_file():
        folder.remarks = (f"AP is measured on the panoptic segments, because {instances.name} is missing.",)
    return folder


def instance_parts(root: Path, split: str) -> tuple[Part, ...]:
    """The photos and the instances JSON."""
    return _photos(root, split), _instances(root, split, needed=True)


def open_instances(root: Path, split: str) -> InstanceFolder:
    """COCO instances: the 80 things of the 133 classes."""
    photos, annotations = (part.path for part in instance_parts(root, split))
    folder = InstanceFolder(root, f"coco-instances {split}", ClassTable.preset(_VOCABULARY), photos, annotations)
    folder.photos = _with_coco_ids(folder.photos)
    return folder


def _with_coco_ids(photos: Iterable[Photo]) -> tuple[Photo, ...]:
    """Copies each photo's id, which is a COCO id in COCO's own files, to `coco_id`."""
    return tuple(replace(photo, coco_id=photo.image_id) for photo in photos)


PANOPTIC = Layout(
    "coco-panoptic", "COCO panoptic", _PAGE, "PQ, AP, mIoU", _VOCABULARY, panoptic_parts, open_panoptic
)  # fmt: skip
INSTANCES = Layout(
    "coco-instances", "COCO instances", _PAGE, "AP", _VOCABULARY, instance_parts, open_instances, labels="instances"
)
