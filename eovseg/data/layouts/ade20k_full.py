"""ADE20K-847: the full ADE20K release (2021_17_01), reduced to the 847 classes of the benchmark by `prepare`.

    ADE20K_2021_17_01/  images/ADE/{training,validation}/<kind>/<scene>/ADE_*.jpg, ADE_*_seg.png   the download
                        images_detectron2/{training,validation}/*.jpg         built: shorter side at most 512
                        annotations_detectron2/{training,validation}/*.tif    built: class 0-846, 65535 = none

In `_seg.png` the class is R // 10 * 256 + G, an index into the release's object list. Sizes and sampling follow the
preparation scripts of FC-CLIP and Mask2Former. `index_ade20k.pkl` is not read, because a pickle can run code.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from eovseg.atomic_files import atomic_file
from eovseg.data.class_table import ClassTable
from eovseg.data.index_masks import ClassMaps, IndexMaskFolder, list_photos, paired_photos
from eovseg.data.label_files import check_size, read_rgb
from eovseg.data.layouts.building import build_masks
from eovseg.data.layouts.layout import SPLIT_FOLDERS, Layout, Part, home
from eovseg.errors import DataError

_VOCABULARY = "ade20k-847"
_NONE = 65535
_SHORTER_SIDE = 512


def _root(root: Path) -> Path:
    names = ("ADE20K_2021_17_01", "ade/ADE20K_2021_17_01")
    return home(home(root, "images_detectron2", *names), "images/ADE", *names)


def parts(root: Path, split: str) -> tuple[Part, ...]:
    """The prepared photos and masks, and the release from which they are built."""
    root, folder = _root(root), SPLIT_FOLDERS[split]
    build = f"`eovseg data prepare ade20k-847 ROOT --split {split}` builds it"
    return (
        Part(root / "images_detectron2" / folder, build),
        Part(root / "annotations_detectron2" / folder, build),
        Part(root / "images" / "ADE" / folder, "the release; only `prepare` needs it", needed=False),
    )


def open_split(root: Path, split: str) -> IndexMaskFolder:
    """The prepared ADE20K-847."""
    photos, masks, _ = (part.path for part in parts(root, split))
    table = ClassTable.preset(_VOCABULARY)
    maps = ClassMaps(masks, ".tif", dict(enumerate(table.ids)), [_NONE])
    return IndexMaskFolder(root, f"ade20k-847 {split}", table, photos, paired_photos(photos, maps), maps)


def prepare(root: Path, split: str, output: Path | None) -> str:
    """Builds `images_detectron2` and `annotations_detectron2` of a split. Raises `DataError` naming the file."""
    photos, masks, release = (part.path for part in parts(root, split))
    if output:
        photos, masks = output / "images_detectron2" / photos.name, output / "annotations_detectron2" / masks.name
    if not release.is_dir():
        raise DataError(f"{release} is missing; unpack the full ADE20K release from {LAYOUT.page}.")
    found = [release / name for name in list_photos(release)]
    sources = {path.stem: path for path in found}
    if len(sources) < len(found):
        raise DataError(f"{release} has two photos with the same name.")
    class_of = np.full(_NONE + 1, _NONE, dtype=np.uint16)
    ids = ClassTable.preset(_VOCABULARY).ids
    class_of[list(ids)] = np.arange(len(ids))

    def make(stem: str) -> np.ndarray:
        path = sources[stem]
        # `_seg.png` matches the stored pixels, so EXIF is ignored here, and the built photo has none.
        image, coded = read_rgb(path), read_rgb(path.with_name(f"{stem}_seg.png")).astype(np.int32)
        check_size(path.with_name(f"{stem}_seg.png"), coded, image.shape[1], image.shape[0])
        labels = class_of[coded[..., 0] // 10 * 256 + coded[..., 1]]
        height, width = reduced_size(*labels.shape)
        if (height, width) != labels.shape:
            image, labels = _resize(image, height, width), _nearest(labels, height, width)
        picture = Image.fromarray(image)
        with atomic_file(photos / f"{stem}.jpg", one_of_many=True) as part:
            picture.save(part, format="JPEG")
        return labels

    return build_masks(masks, ".tif", sorted(sources), make)


def reduced_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) with the shorter side reduced to 512; smaller photos keep their size."""
    if width >= height > _SHORTER_SIDE:
        return _SHORTER_SIDE, round(width / height * _SHORTER_SIDE)
    if height >= width > _SHORTER_SIDE:
        return round(height / width * _SHORTER_SIDE), _SHORTER_SIDE
    return height, width


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear without antialiasing, like OpenCV's INTER_LINEAR."""
    import torch

    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(pixels, (height, width), mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


def _nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest neighbour with indices rounded down, like OpenCV's INTER_NEAREST."""
    rows = (np.arange(height) * (labels.shape[0] / height)).astype(np.intp)
    columns = (np.arange(width) * (labels.shape[1] / width)).astype(np.intp)
    return labels[rows[:, None], columns]


LAYOUT = Layout(
    "ade20k-847", "ADE20K-847", "https://groups.csail.mit.edu/vision/datasets/ADE20K/", "mIoU", _VOCABULARY,
    parts, open_split, prepare,
)  # fmt: skip
