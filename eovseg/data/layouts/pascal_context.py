"""PASCAL-Context-59 and -459: the photos of VOC 2010 with the Context masks, built by `prepare`.

    VOCdevkit/VOC2010/  JPEGImages/*.jpg, ImageSets/Main/{train,val}.txt      VOCtrainval_03-May-2010.tar
                        trainval/*.mat      the Context download; `LabelMap` holds class 1-459, 0 = unlabelled
    pascal_ctx_d2/      images/{training,validation}/*.jpg                    built
                        annotations_ctx59/{training,validation}/*.png         built: class 0-58, 255 = unlabelled
                        annotations_ctx459/{training,validation}/*.tif        built: class 0-458, 65535 = unlabelled
    or the layout of SAN and CAT-Seg:
    VOCdevkit/VOC2010/  JPEGImages/*.jpg, annotations_detectron2/{pc59,pc459}_{train,val}/*

The .mat files label 4,998 training and 5,105 validation photos. FC-CLIP builds the 59 classes from the PASCAL in Detail
JSON instead, which labels 4,996 and 5,104 of them.
"""

import shutil
from pathlib import Path

import numpy as np

from eovseg.atomic_files import atomic_file
from eovseg.data.class_table import ClassTable
from eovseg.data.index_masks import ClassMaps, IndexMaskFolder, list_photos, paired_photos
from eovseg.data.label_files import check_size, image_size
from eovseg.data.layouts.building import build_masks
from eovseg.data.layouts.layout import SPLIT_FOLDERS, Layout, Part, home
from eovseg.data.layouts.pascal_voc import photos_of_masks, read_names
from eovseg.errors import DataError

# Numbers of the 59 classes among the 459, in benchmark order (59_labels.txt).
NUMBERS_59 = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip
_CLASSES = 459


def _official(root: Path) -> Path:
    return home(root, "JPEGImages", "VOC2010", "VOCdevkit/VOC2010")


def _prepared(root: Path) -> Path:
    return root if (root / "annotations_ctx59").exists() or root.name == "pascal_ctx_d2" else root / "pascal_ctx_d2"


def _suffix(classes: int) -> str:
    return ".png" if classes == 59 else ".tif"


def _parts(root: Path, split: str, classes: int) -> tuple[Part, ...]:
    official, prepared, folder = _official(root), _prepared(root), SPLIT_FOLDERS[split]
    other = official / "annotations_detectron2" / f"pc{classes}_{split}"
    if other.is_dir():
        return Part(official / "JPEGImages", "unpack VOCtrainval_03-May-2010.tar"), Part(other, "prepared masks")
    build = f"`eovseg data prepare pascal-context-{classes} ROOT --split {split}` builds it"
    return (
        Part(prepared / "images" / folder, build),
        Part(prepared / f"annotations_ctx{classes}" / folder, build),
        Part(official / "JPEGImages", "the photos of VOC 2010; only `prepare` needs them", needed=False),
        Part(official / "trainval", "the Context .mat files; only `prepare` needs them", needed=False),
    )


def _open(root: Path, split: str, classes: int) -> IndexMaskFolder:
    photos, masks = (part.path for part in _parts(root, split, classes)[:2])
    table, suffix = ClassTable.preset(f"pascal-context-{classes}"), _suffix(classes)
    maps = ClassMaps(masks, suffix, dict(enumerate(table.ids)), [255 if classes == 59 else 65535])
    files = photos_of_masks(masks, suffix) if photos.name == "JPEGImages" else paired_photos(photos, maps)
    return IndexMaskFolder(root, f"pascal-context-{classes} {split}", table, photos, files, maps)


def _prepare(root: Path, split: str, output: Path | None, classes: int) -> str:
    official, folder = _official(root), SPLIT_FOLDERS[split]
    prepared = output or _prepared(root)
    names = official / "ImageSets" / "Main" / f"{split}.txt"
    for path, archive in ((official / "trainval", "trainval.tar.gz"), (names, "VOCtrainval_03-May-2010.tar")):
        if not path.exists():
            raise DataError(f"{path} is missing; unpack {archive} from {PAGE}.")
    number = np.full(_CLASSES + 1, 65535 if classes == _CLASSES else 255, dtype=np.uint16)
    number[list(NUMBERS_59) if classes == 59 else range(1, _CLASSES + 1)] = np.arange(classes)

    def make(stem: str) -> np.ndarray:
        photo, path = official / "JPEGImages" / f"{stem}.jpg", official / "trainval" / f"{stem}.mat"
        labels = _read_label_map(path)
        check_size(path, labels, *image_size(photo))
        copy = prepared / "images" / folder / photo.name
        if not copy.is_file():
            with atomic_file(copy, one_of_many=True) as part:
                shutil.copyfile(photo, part)
        return number[labels].astype(np.uint8 if classes == 59 else np.uint16)

    # If the other masks have been built, use the same photos.
    other = prepared / f"annotations_ctx{459 if classes == 59 else 59}" / folder
    files = list_photos(prepared / "images" / folder) if other.is_dir() else read_names(names)
    stems = [name.removesuffix(".jpg") for name in files]
    return build_masks(prepared / f"annotations_ctx{classes}" / folder, _suffix(classes), stems, make)


def _read_label_map(path: Path) -> np.ndarray:
    try:
        from scipy.io import loadmat

        labels = np.asarray(loadmat(path)["LabelMap"])
    except Exception as error:  # scipy raises many kinds of error for broken files
        raise DataError(f"{path} has no readable LabelMap ({error}).") from error
    if labels.ndim != 2 or labels.size == 0 or labels.max() > _CLASSES:
        raise DataError(f"{path} has a LabelMap of shape {labels.shape}; H x W with values up to {_CLASSES} is needed.")
    return labels


PAGE = "https://cs.stanford.edu/~roozbeh/pascal-context/ and http://host.robots.ox.ac.uk/pascal/VOC/voc2010/"


def _layout(classes: int) -> Layout:
    return Layout(
        f"pascal-context-{classes}", f"PASCAL-Context-{classes}", PAGE, "mIoU", f"pascal-context-{classes}",
        lambda root, split: _parts(root, split, classes),
        lambda root, split: _open(root, split, classes),
        lambda root, split, output: _prepare(root, split, output, classes),
    )  # fmt: skip


LAYOUT_59, LAYOUT_459 = _layout(59), _layout(459)
