"""Photos with index masks: one image per photo whose pixel values are classes, with 8 or 16 bits or a palette.

Such labels do not distinguish objects, so they support mIoU only.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from eovseg.data.class_table import ClassTable
from eovseg.data.label_files import check_size, image_size, read_index
from eovseg.data.labelled_folder import LabelledFolder, Measure, Photo, SegmentInfo
from eovseg.errors import DataError
from eovseg.photo_folders import SkippedFiles, walk

_UNLABELLED, _UNKNOWN = -1, -2
LARGEST_VALUE = 65_535
_VALUES = LARGEST_VALUE + 1


class ClassMaps:
    """The index masks of a folder, with the category of each pixel value and the values that mean "unlabelled".

    A photo's mask is `folder`/<photo's path without extension> + `suffix`.
    """

    def __init__(self, folder: Path, suffix: str, category_of: Mapping[int, int], unlabelled: Collection[int]) -> None:
        self.folder = folder
        self.suffix = suffix
        self._category = np.full(_VALUES, _UNKNOWN, dtype=np.int64)
        self._category[list(unlabelled)] = _UNLABELLED
        self._category[list(category_of)] = list(category_of.values())

    def path(self, file_name: str) -> Path:
        """The mask of a photo."""
        return self.folder / f"{Path(file_name).with_suffix('')}{self.suffix}"

    def load(self, photo: Photo) -> np.ndarray:
        """Category ids, (H, W) int64, -1 = unlabelled; raises `DataError` for a wrong size or unknown values."""
        path = self.path(photo.file_name)
        values = read_index(path)
        check_size(path, values, photo.width, photo.height, "its photo is")
        if values.dtype == bool:
            values = values.astype(np.uint8)
        outside = (values < 0) | (values >= _VALUES) if values.dtype.itemsize > 2 else np.zeros(1, dtype=bool)
        categories = self._category[values.clip(0, _VALUES - 1)]
        unknown = values[(categories == _UNKNOWN) | outside]
        if unknown.size:
            raise DataError(f"{path} has values that are not in the class list: {np.unique(unknown)[:5].tolist()}.")
        return categories


class IndexMaskFolder(LabelledFolder):
    """Photos `file_names` below `images` with their masks in `maps`; validated when opened.

    Raises `DataError` for a missing photo or mask, and for two photos with the same mask.
    """

    semantic_only = True
    measures: tuple[Measure, ...] = ("semantic",)

    def __init__(
        self, root: Path, name: str, table: ClassTable, images: Path, file_names: Sequence[str], maps: ClassMaps
    ) -> None:
        self.root, self.name, self.table, self.images, self.maps = root, name, table, images, maps
        self.categories = table.categories
        if not file_names:
            raise DataError(f"{images} has no labelled photos.")
        owners: dict[Path, str] = {}
        photos = []
        for number, file_name in enumerate(file_names, 1):
            mask = maps.path(file_name)
            if mask in owners:
                raise DataError(f"{images / file_name} and {owners[mask]} share the mask {mask}.")
            owners[mask] = file_name
            if not mask.is_file():
                raise DataError(f"{mask} is missing; it should be the mask of {images / file_name}.")
            width, height = image_size(images / file_name)
            photos.append(Photo(number, file_name, width, height, (), mask.name))
        self.photos = tuple(photos)

    def load_segments(self, photo: Photo) -> tuple[np.ndarray, tuple[SegmentInfo, ...]]:
        """One segment per class, numbered from 1 in the order of the category ids."""
        present, places, areas = np.unique(self.maps.load(photo), return_inverse=True, return_counts=True)
        places = places.reshape(photo.height, photo.width)
        if present[0] != _UNLABELLED:
            places += 1
            numbered = list(zip(present.tolist(), areas.tolist(), strict=True))
        else:
            numbered = list(zip(present[1:].tolist(), areas[1:].tolist(), strict=True))
        segments = tuple(SegmentInfo(i, category, False, area) for i, (category, area) in enumerate(numbered, 1))
        return places.astype(np.int32), segments


def paired_photos(
    images: Path, maps: ClassMaps, suffixes: Sequence[str] = (".jpg",), skipped: SkippedFiles | None = None
) -> list[str]:
    """The photos below `images`; raises `DataError` for a mask without a photo."""
    file_names = list_photos(images, suffixes, skipped)
    masks = {maps.path(name) for name in file_names}
    for below, name in walk(maps.folder, suffixes=(maps.suffix,)):
        if maps.folder / below / name not in masks:
            raise DataError(f"The mask {maps.folder / below / name} has no photo in {images}.")
    return file_names


def list_photos(folder: Path, suffixes: Sequence[str] = (".jpg",), skipped: SkippedFiles | None = None) -> list[str]:
    """Sorted paths of the photos below `folder`, relative to it; raises `DataError` if the folder is missing."""
    if not folder.is_dir():
        raise DataError(f"{folder} is missing; it should contain the photos.")
    return sorted(f"{below}/{name}" if below else name for below, name in walk(folder, True, suffixes, skipped))
