"""Own data: a COCO-panoptic folder, or photos with index masks and a class list.

    panoptic-folder:  images/*  panoptic/*.png  panoptic.json      ids R + 256 G + 65536 B, 0 = unlabelled
    mask-folder:      images/*.jpg or .png  masks/*.png            the class of each pixel, 255 (65535) = unlabelled
                      classes.txt     line 1 names class 0, line 2 class 1, ...: `person, people: thing`
                      or classes.json: the form of `assets/vocabularies`; `dataset_id`, where given, is the mask's value

With `--split train` or `val` the folders are panoptic/train, panoptic_train.json, images/train and masks/train.
"""

import json
from pathlib import Path

from eovseg.data.class_table import ClassTable
from eovseg.data.index_masks import ClassMaps, IndexMaskFolder, paired_photos
from eovseg.data.layouts.layout import Layout, Part
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError, VocabularyError
from eovseg.photo_folders import PHOTO_SUFFIXES, LeftOut
from eovseg.vocabulary import Vocabulary, WordClass

_SPLITS = ("all", "val", "train")


def _folder(root: Path, name: str, split: str) -> Path:
    return root / name if split == "all" else root / name / split


def panoptic_parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos, JSON and id PNGs."""
    annotations = root / ("panoptic.json" if split == "all" else f"panoptic_{split}.json")
    return (
        Part(_folder(root, "images", split), "your photos"),
        Part(annotations, "COCO's panoptic JSON: images, annotations with segments_info, categories"),
        Part(_folder(root, "panoptic", split), "one PNG of segment ids a photo"),
    )


def open_panoptic(root: Path, split: str) -> PanopticFolder:
    """A COCO-panoptic folder with the categories of its JSON."""
    photos, annotations, pngs = (part.path for part in panoptic_parts(root, split))
    folder = PanopticFolder(root, annotations, photos, pngs)
    folder.table = ClassTable.of_categories(folder.categories)
    return folder


def mask_parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos, index masks and the class list."""
    words = root / "classes.json"
    return (
        Part(_folder(root, "images", split), "your photos"),
        Part(_folder(root, "masks", split), "one index mask a photo, of the same name, as PNG"),
        Part(words if words.is_file() else root / "classes.txt", "one class a line (classes.txt), or classes.json"),
    )


def open_masks(root: Path, split: str) -> IndexMaskFolder:
    """Photos with index masks, in the classes of `classes.txt` or `classes.json`."""
    photos, masks, words = (part.path for part in mask_parts(root, split))
    table = read_classes(words)
    unlabelled = {255, 65535} - set(table.ids)
    maps = ClassMaps(masks, ".png", {number: number for number in table.ids}, unlabelled)
    left_out = LeftOut()
    folder = IndexMaskFolder(
        root, root.name, table, photos, paired_photos(photos, maps, PHOTO_SUFFIXES, left_out), maps
    )
    folder.notes = (left_out.note(photos),) if left_out.kinds else ()
    return folder


def read_classes(path: Path) -> ClassTable:
    """The classes of a mask folder in the order of their values; raises `DataError` for a line that is no class."""
    try:
        return _read_json(path) if path.suffix == ".json" else _read_lines(path)
    except VocabularyError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text ({error}).") from error


def _read_lines(path: Path) -> ClassTable:
    classes: list[WordClass] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").rstrip().splitlines(), 1):
        if not line.strip() or len(Vocabulary.parse(line)) != 1:
            raise DataError(f"{path}: line {number} must name exactly one class, as its place is the masks' value.")
        classes += Vocabulary.parse(line).classes
    return ClassTable.of(Vocabulary(tuple(classes)))


def _read_json(path: Path) -> ClassTable:
    vocabulary = Vocabulary.from_file(path)
    entries = json.loads(path.read_text(encoding="utf-8-sig"))["classes"]
    given = [entry.get("dataset_id") for entry in entries]
    ids = [place if value is None else value for place, value in enumerate(given)]
    if len(vocabulary) < len(entries) or not all(isinstance(i, int) and 0 <= i < 65536 for i in ids):
        raise DataError(f"{path} has a class without a name, or a dataset_id that is no mask value (0 to 65535).")
    if len(set(ids)) < len(ids):
        raise DataError(f"{path} gives two classes one dataset_id.")
    return ClassTable(vocabulary, tuple(ids))


PANOPTIC = Layout(
    "panoptic-folder", "any COCO-panoptic folder", "https://cocodataset.org/#format-data (the format)",
    "PQ, AP, mIoU", None, panoptic_parts, open_panoptic, splits=_SPLITS,
)  # fmt: skip
MASKS = Layout(
    "mask-folder", "photos with index masks and a class list", "README.md, section Data sets (the format)",
    "mIoU", None, mask_parts, open_masks, splits=_SPLITS,
)  # fmt: skip
