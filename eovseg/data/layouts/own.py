"""Your own data: a COCO panoptic folder, COCO polygons with custom categories, or index masks and a class list.

    panoptic-folder:  images/*  panoptic/*.png  panoptic.json      ids R + 256 G + 65536 B, 0 = unlabelled
    coco-instances-folder:  images/*  instances.json               polygons or run lengths, with custom categories
    mask-folder:      images/*.jpg or .png  masks/*.png            the class of each pixel, 255 (65535) = unlabelled
                      classes.txt     line 1 names class 0, line 2 class 1, ...: `person, people: thing`;
                                      or lines that start with the mask value: `7: person, people: thing`;
                      or a list ['person', 'sky'], {7: 'person', 9: 'sky'} or a table with the columns id and name
                      or classes.json, in the format of `assets/vocabularies`; `dataset_id`, if given, is the mask value

With `--split train` or `val`, the files are images/train, panoptic/train, panoptic_train.json, instances_train.json and
masks/train.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eovseg.data.class_table import ClassTable
from eovseg.data.coco_instances import OWN_NAME, InstanceFolder
from eovseg.data.entries import Entry
from eovseg.data.index_masks import LARGEST_VALUE, ClassMaps, IndexMaskFolder, paired_photos
from eovseg.data.label_files import read_json
from eovseg.data.layouts.layout import Layout, Part
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError, VocabularyError
from eovseg.notation import Line, bracketed, clean, is_unpaired, table, without_prefixes
from eovseg.photo_folders import PHOTO_SUFFIXES, SkippedFiles
from eovseg.vocabulary import Vocabulary, WordClass

PAGE = "docs/data-sets.md, section Your own data"
_SPLITS = ("all", "val", "train")


def _folder(root: Path, name: str, split: str) -> Path:
    return root / name if split == "all" else root / name / split


def panoptic_parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos, JSON and id PNGs."""
    annotations = root / ("panoptic.json" if split == "all" else f"panoptic_{split}.json")
    return (
        Part(_folder(root, "images", split), "your photos"),
        Part(annotations, "COCO's panoptic JSON: images, annotations with segments_info, categories"),
        Part(_folder(root, "panoptic", split), "one PNG with segment ids per photo"),
    )


def open_panoptic(root: Path, split: str) -> PanopticFolder:
    """A COCO panoptic folder with the categories of its JSON."""
    photos, annotations, pngs = (part.path for part in panoptic_parts(root, split))
    return panoptic_folder(root, annotations, photos, pngs)


def panoptic_folder(root: Path, annotations: Path | None, photos: Path | None, pngs: Path | None) -> PanopticFolder:
    """Like `open_panoptic`, but the given files replace those in `root`; None keeps the file in `root`."""
    folder = PanopticFolder(root, annotations, photos, pngs)
    folder.table = ClassTable.of_categories(folder.categories, folder.annotations)
    folder.categories = folder.table.categories
    return folder


def instance_parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos and instances JSON."""
    annotations = root / ("instances.json" if split == "all" else f"instances_{split}.json")
    return (
        Part(_folder(root, "images", split), "your photos"),
        Part(annotations, "COCO's instances JSON: images, annotations with segmentation, categories"),
    )


def open_instances(root: Path, split: str) -> InstanceFolder:
    """Photos with polygons or run lengths, in the categories of their JSON."""
    photos, annotations = (part.path for part in instance_parts(root, split))
    return InstanceFolder(root, root.name, None, photos, annotations)


def mask_parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos, index masks and the class list."""
    words = root / "classes.json"
    return (
        Part(_folder(root, "images", split), "your photos"),
        Part(_folder(root, "masks", split), "one index mask per photo: a PNG of the same name"),
        Part(words if words.is_file() else root / "classes.txt", "one class per line (classes.txt), or classes.json"),
    )


def open_masks(root: Path, split: str) -> IndexMaskFolder:
    """Photos with index masks, in the classes of `classes.txt` or `classes.json`."""
    photos, masks, words = (part.path for part in mask_parts(root, split))
    table = read_classes(words)
    unlabelled = {255, 65535} - set(table.ids)
    maps = ClassMaps(masks, ".png", {number: number for number in table.ids}, unlabelled)
    skipped = SkippedFiles()
    folder = IndexMaskFolder(root, root.name, table, photos, paired_photos(photos, maps, PHOTO_SUFFIXES, skipped), maps)
    folder.remarks = (skipped.note(photos),) if skipped.kinds else ()
    return folder


def read_classes(path: Path) -> ClassTable:
    """The classes of a mask folder with their mask values; raises `DataError` for an invalid line."""
    try:
        return _read_json(path) if path.suffix == ".json" else _read_lines(path)
    except VocabularyError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text ({error}).") from error


def _read_lines(path: Path) -> ClassTable:
    text = clean(path.read_text(encoding="utf-8-sig"))[0].rstrip()
    lines, entry = bracketed(text) or table(text), "entry"
    if lines is None:
        lines, entry = without_prefixes(text.splitlines()) or [Line(line) for line in text.splitlines()], "line"
    classes: list[WordClass] = []
    notes: list[str] = []
    for place, line in enumerate(lines, 1):
        if not line.text.strip() or len(read := Vocabulary.parse(line.text)) != 1:
            raise DataError(f"{path}: {entry} {place} must name exactly one class: its position is the mask value.")
        classes += read.classes
        notes += read.notes
        if any(map(is_unpaired, classes[-1].names)):
            raise DataError(
                f"{path}: {entry} {place} has an unmatched bracket. Write one class per line, or a complete list such "
                "as ['dog', 'cat'] or {1: 'dog', 2: 'cat'}."
            )
    return _numbered(path, Vocabulary(tuple(classes), tuple(notes)), [line.number for line in lines])


def _read_json(path: Path) -> ClassTable:
    vocabulary = Vocabulary.from_file(path)
    entries = Entry(path, "the file", read_json(path)).entries("classes", "class")
    if len(vocabulary) < len(entries):
        raise DataError(f"{path} has a class without a name.")
    ids = [None if e.get("dataset_id") is None else e.integer("dataset_id", 0, LARGEST_VALUE) for e in entries]
    return _numbered(path, vocabulary, ids)


def _numbered(path: Path, vocabulary: Vocabulary, numbers: Sequence[int | None]) -> ClassTable:
    """The class table with mask values `numbers`, where None stands for the class's position."""
    ids = [place if number is None else number for place, number in enumerate(numbers)]
    twice = next((number for number, count in Counter(ids).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path} gives two classes the number {twice}; each mask value must belong to one class.")
    if max(ids) > LARGEST_VALUE:
        raise DataError(f"{path} has the number {max(ids)}; mask values are 0 to {LARGEST_VALUE}.")
    return ClassTable(vocabulary, tuple(ids))


PANOPTIC = Layout(
    "panoptic-folder", "any COCO panoptic folder", PAGE, "PQ, AP, mIoU", None, panoptic_parts, open_panoptic,
    splits=_SPLITS,
)  # fmt: skip
INSTANCES = Layout(
    OWN_NAME, "photos with COCO polygons and your own categories", PAGE, "AP", None, instance_parts, open_instances,
    splits=_SPLITS, labels="instances",
)  # fmt: skip
MASKS = Layout(
    "mask-folder", "photos with index masks and a class list", PAGE, "mIoU", None, mask_parts, open_masks,
    splits=_SPLITS,
)  # fmt: skip
