"""PASCAL VOC-20: the segmentation masks of VOC 2012 without background.

VOCdevkit/VOC2012/  JPEGImages/*.jpg, ImageSets/Segmentation/{train,val}.txt
                    SegmentationClass/*.png     palette; class 1-20, background 0 and void 255 are unlabelled
or as prepared:
pascal_voc_d2/      images/{training,validation}/*.jpg, annotations_pascal20/{training,validation}/*.png  (FC-CLIP)
VOCdevkit/VOC2012/  JPEGImages/*.jpg, annotations_detectron2/{train,val}/*.png                      (SAN, CAT-Seg)
                    both: class 0-19, 255 = unlabelled
"""

from collections.abc import Sequence
from pathlib import Path

from eovseg.data.class_table import ClassTable
from eovseg.data.index_masks import ClassMaps, IndexMaskFolder, paired_photos
from eovseg.data.layouts.layout import SPLIT_FOLDERS, Layout, Part, home
from eovseg.errors import DataError
from eovseg.photo_folders import walk

_VOCABULARY = "pascal-voc-20"


def _official(root: Path) -> Path:
    return home(root, "JPEGImages", "VOC2012", "VOCdevkit/VOC2012")


def parts(root: Path, split: str) -> tuple[Part, ...]:
    """Photos and masks of the first layout that exists, starting with the official one."""
    official, prepared = _official(root), home(root, "annotations_pascal20", "pascal_voc_d2")
    photos = Part(official / "JPEGImages", "unpack VOCtrainval_11-May-2012.tar")
    masks = Part(official / "SegmentationClass", "unpack VOCtrainval_11-May-2012.tar")
    if masks.path.is_dir():
        names = official / "ImageSets" / "Segmentation" / f"{split}.txt"
        return photos, masks, Part(names, "unpack VOCtrainval_11-May-2012.tar")
    if (prepared / "annotations_pascal20").is_dir():
        folder = SPLIT_FOLDERS[split]
        return (
            Part(prepared / "images" / folder, "prepared photos"),
            Part(prepared / "annotations_pascal20" / folder, "prepared masks"),
        )
    if (official / "annotations_detectron2").is_dir():
        return photos, Part(official / "annotations_detectron2" / split, "prepared masks")
    return photos, masks


def open_split(root: Path, split: str) -> IndexMaskFolder:
    """PASCAL VOC-20 in whichever layout exists."""
    photos, masks, *names = (part.path for part in parts(root, split))
    table = ClassTable.preset(_VOCABULARY)
    if names:
        maps = ClassMaps(masks, ".png", {number: number for number in table.ids}, [0, 255])
        files = read_names(names[0])
    else:
        maps = ClassMaps(masks, ".png", dict(enumerate(table.ids)), [255])
        # JPEGImages contains the photos of all splits, labelled or not; a prepared folder only those of its split.
        files = photos_of_masks(masks, ".png") if photos.name == "JPEGImages" else paired_photos(photos, maps)
    return IndexMaskFolder(root, f"pascal-voc-20 {split}", table, photos, files, maps)


def read_names(path: Path) -> Sequence[str]:
    """The photos of a VOC list file with one name per line; raises `DataError` for duplicates."""
    try:
        names = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text ({error}).") from error
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"{path} lists {twice[0]} twice.")
    return [f"{name}.jpg" for name in names]


def photos_of_masks(masks: Path, suffix: str) -> Sequence[str]:
    """The photos with a mask in the folder `masks`."""
    return sorted(f"{Path(name).stem}.jpg" for _, name in walk(masks, recursive=False, suffixes=(suffix,)))


LAYOUT = Layout(
    "pascal-voc-20", "PASCAL VOC-20", "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/", "mIoU", _VOCABULARY,
    parts, open_split,
)  # fmt: skip
