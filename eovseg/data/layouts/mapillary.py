"""Mapillary Vistas, panoptic: release 1.2 with its 65 classes, and release 2.0 with its own.

mapillary_vistas/  {training,validation}/images/*.jpg
                   {training,validation}/panoptic/panoptic_2018.json, *.png            the download of 1.x
                   {training,validation}/v1.2/panoptic/panoptic_2018.json, *.png       the download of 2.0
                   {training,validation}/v2.0/panoptic/panoptic_2020.json, *.png       the download of 2.0
                   config_v2.0.json     readable class names of 2.0, used as its vocabulary
"""

from dataclasses import replace
from pathlib import Path

from eovseg.data.class_table import Category, ClassTable
from eovseg.data.entries import top_level
from eovseg.data.label_files import read_json
from eovseg.data.layouts.layout import SPLIT_FOLDERS, Layout, Part, home
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError

_PAGE = "https://www.mapillary.com/dataset/vistas"
_VOCABULARY = "mapillary-vistas-65"


def _parts(root: Path, split: str, labels: str, annotations: str) -> tuple[Part, ...]:
    folder = home(root, SPLIT_FOLDERS[split], "mapillary_vistas", "mapillary") / SPLIT_FOLDERS[split]
    panoptic = home(folder, "panoptic", labels) / "panoptic" if labels == "v1.2" else folder / labels / "panoptic"
    return (
        Part(folder / "images", "unpack the Vistas archive"),
        Part(panoptic / annotations, "unpack the Vistas archive"),
        Part(panoptic, "unpack the Vistas archive"),
    )


def parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos and the panoptic files of release 1.2."""
    return _parts(root, split, "v1.2", "panoptic_2018.json")


def parts_2(root: Path, split: str) -> tuple[Part, ...]:
    """Photos, the panoptic files of release 2.0 and its configuration."""
    found = _parts(root, split, "v2.0", "panoptic_2020.json")
    return (*found, Part(found[0].path.parent.parent / "config_v2.0.json", "unpack the Vistas archive"))


def open_split(root: Path, split: str) -> PanopticFolder:
    """Mapillary Vistas 1.2."""
    photos, annotations, pngs = (part.path for part in parts(root, split))
    table = ClassTable.preset(_VOCABULARY)
    return PanopticFolder(root, annotations, photos, pngs, name=f"mapillary-vistas {split}", table=table)


def open_split_2(root: Path, split: str) -> PanopticFolder:
    """Mapillary Vistas 2.0; its vocabulary is the readable names in its configuration."""
    photos, annotations, pngs, config = (part.path for part in parts_2(root, split))
    table = _table_2(config, annotations)
    return PanopticFolder(root, annotations, photos, pngs, name=f"mapillary-vistas-2 {split}", table=table)


def _table_2(config: Path, annotations: Path) -> ClassTable:
    """The categories of the annotations with their readable names from the configuration."""
    labels = top_level(config, read_json(config), "Mapillary's configuration in", ("labels",)).entries(
        "labels", "label"
    )
    readable = {label.text("name"): label.text("readable") for label in labels}
    top = top_level(annotations, read_json(annotations), "COCO panoptic", ("categories",))
    categories = [Category.read(entry) for entry in top.entries("categories", "category")]
    unnamed = [category.name for category in categories if category.name not in readable]
    if unnamed:
        raise DataError(f"{config} does not name the class {unnamed[0][:60]} of the annotations.")
    # A comma does not separate synonyms here: "Lane Marking - Straight, Dashed".
    named = {c.id: replace(c, name=readable[c.name].replace(",", " ").strip().lower()) for c in categories}
    return ClassTable.of_categories(named, config)


LAYOUT = Layout("mapillary-vistas", "Mapillary Vistas 1.2", _PAGE, "PQ, AP, mIoU", _VOCABULARY, parts, open_split)
LAYOUT_2 = Layout("mapillary-vistas-2", "Mapillary Vistas 2.0", _PAGE, "PQ, AP, mIoU", None, parts_2, open_split_2)
