"""`python -m tests.formats.own_readers FOLDER`: reads all results in FOLDER with the tools' own readers.

FOLDER contains one folder per result, with `photo.jpg` and the files of all formats. In each, it writes `READER.npz`:
masks (n, H, W) bool, their labels, and the segment or group of each. It runs in a separate process, because the readers
need libraries (in particular OpenCV) that must not affect other tests; `readers.txt` lists them.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

Read = Iterator[tuple[np.ndarray, str, int]]  # mask, label, number of its segment


def labelme(folder: Path) -> Read:
    """Reads the file like LabelMe's user interface, and fills polygons like its exporters."""
    for name in ("PyQt5", "PyQt5.QtCore", "PyQt5.QtGui", "PyQt5.QtWidgets"):  # no window is opened
        sys.modules.setdefault(name, mock.MagicMock())
    from labelme._label_file import read_label_file
    from labelme.utils import shapes_to_label

    path = folder / "labelme" / "photo.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    size = (document["imageHeight"], document["imageWidth"])
    for number, shape in enumerate(read_label_file(str(path)).shapes):
        filled, _ = shapes_to_label(size, [shape], {shape["label"]: 1})
        yield filled > 0, shape["label"], -number - 1 if shape["group_id"] is None else shape["group_id"]


def label_studio(folder: Path) -> Read:
    """Decodes the brush with Label Studio's converter."""
    from label_studio_sdk.converter.brush import decode_rle

    (task,) = json.loads((folder / "photo-label-studio.json").read_text(encoding="utf-8"))
    for number, region in enumerate(task["predictions"][0]["result"]):
        size = (region["original_height"], region["original_width"], 4)
        alpha = decode_rle(region["value"]["rle"]).reshape(size)[..., 3]
        yield alpha > 0, region["value"]["brushlabels"][0], number


def datumaro_coco_instances(folder: Path) -> Read:
    return _datumaro(folder, "coco_instances", {"photo-coco-instances.json": "annotations/instances_all.json"})


def datumaro_coco_panoptic(folder: Path) -> Read:
    files = {
        "photo-coco-panoptic.json": "annotations/panoptic_all.json",
        "photo-panoptic.png": "annotations/panoptic_all/photo-panoptic.png",
    }
    return _datumaro(folder, "coco_panoptic", files)


def datumaro_cvat(folder: Path) -> Read:
    return _datumaro(folder, "cvat", {"photo-cvat.xml": "annotations.xml"})


def _datumaro(folder: Path, form: str, files: dict[str, str]) -> Read:
    """Reads with Datumaro, which imports data sets, so the files are copied into the layout of one."""
    import datumaro

    with tempfile.TemporaryDirectory() as home:
        root = Path(home)
        photo = "images/photo.jpg" if form == "cvat" else "images/all/photo.jpg"
        for name, place in {"photo.jpg": photo, **files}.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, root / place)
        data = datumaro.Dataset.import_from(home, form)
        names = data.categories()[datumaro.AnnotationType.label]
        for item in data:
            parts = [one for one in item.annotations if one.type.name in ("mask", "polygon")]
            for number, part in enumerate(parts):
                if part.type.name == "mask":
                    mask = np.asarray(part.image, dtype=bool)
                else:
                    from pycocotools import mask as coco_mask

                    height, width = item.media_as(datumaro.Image).size
                    (lengths,) = coco_mask.frPyObjects([part.points], height, width)
                    mask = coco_mask.decode(lengths).astype(bool)
                yield mask, names[part.label].name, part.group or -number - 1


READERS: dict[str, Callable[[Path], Read]] = {
    "labelme": labelme,
    "label-studio": label_studio,
    "datumaro-coco-instances": datumaro_coco_instances,
    "datumaro-coco-panoptic": datumaro_coco_panoptic,
    "datumaro-cvat": datumaro_cvat,
}


def main(home: Path) -> None:
    """Reads all results and writes the masks."""
    for folder in sorted(path for path in home.iterdir() if path.is_dir()):
        for name, read in READERS.items():
            found = list(read(folder))
            masks, labels, groups = zip(*found, strict=True) if found else ((), (), ())
            np.savez_compressed(folder / f"{name}.npz", masks=np.array(masks), labels=labels, groups=groups)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
