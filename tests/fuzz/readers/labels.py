"""Labels: panoptic JSON and PNG, instances JSON and index masks, in otherwise valid folders."""

import functools
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from eovseg.data.coco_instances import InstanceFolder
from eovseg.data.index_masks import ClassMaps
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.data.layouts.own import open_panoptic
from eovseg.data.panoptic_folder import PanopticFolder
from tests.data import trees
from tests.fuzz.harness import Reader
from tests.fuzz.json_mutations import dumped, mutated_json
from tests.fuzz.mutations import mutated
from tests.fuzz.readers.photos import _with_checksums

_VALUES = (
    b"null", b"[]", b"{}", b'""', b"-1", b"0", b"1.5", b"1e999", b"NaN", b"2147483648", b"1" * 5000, b'"\\ud800"',
    b"[" * 2000, b'"id": 1,', b'"area": null,', b'"iscrowd": "x",', b'"counts": "\xc3\xa9"', b'"width": 65000',
)  # fmt: skip


@functools.cache
def _drawable_name() -> dict[str, bytes]:
    """The files of small valid data sets, by name."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trees.own_panoptic(root / "panoptic")
        trees.own_instances(root / "instances")
        trees.coco(root / "coco")
        trees.own_masks(root / "masks")
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _documents(seed: int, originals: list[bytes]) -> bytes:
    if seed % 4:
        return dumped(mutated_json([json.loads(document) for document in originals], seed), seed)
    return mutated(originals, seed, _VALUES)


def panoptic_json(seed: int) -> bytes:
    return _documents(seed, [_drawable_name()["panoptic/panoptic.json"]])


def instances_json(seed: int) -> bytes:
    return _documents(seed, [_drawable_name()["instances/instances.json"], _with_every_form()])


@functools.cache
def _with_every_form() -> bytes:
    """The instances of `trees.coco`, with all mask formats, for the photos of the other file."""
    document = json.loads(_drawable_name()["coco/annotations/instances_val2017.json"])
    for image, name in zip(document["images"], ("a.jpg", "b.jpg"), strict=True):
        image["file_name"] = name
    return json.dumps(document).encode()


def panoptic_png(seed: int) -> bytes:
    content = mutated([_drawable_name()["panoptic/panoptic/a.png"], _png("P"), _png("RGBA"), _png("I;16")], seed)
    return _with_checksums(content) if seed % 2 else content


def mask(seed: int) -> bytes:
    content = mutated([_drawable_name()["masks/masks/a.png"], _png("P"), _png("1"), _png("I;16"), _png("I")], seed)
    return _with_checksums(content) if seed % 2 else content


def tiff_mask(seed: int) -> bytes:
    return mutated([_png("I;16", "TIFF"), _png("L", "TIFF")], seed)


@functools.cache
def _png(mode: str, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (trees.WIDTH, trees.HEIGHT)).save(buffer, kind)
    return buffer.getvalue()


def _folder(path: Path, name: str) -> Path:
    """The valid data set `name` next to `path`."""
    root = path.parent / name
    if not root.exists():
        for file, content in _drawable_name().items():
            if file.startswith(f"{name}/"):
                (path.parent / file).parent.mkdir(parents=True, exist_ok=True)
                (path.parent / file).write_bytes(content)
    return root


def _read_all(folder: LabelledFolder) -> object:
    for photo in folder.photos:
        folder.load_image(photo)
        folder.load_instances(photo)
        folder.load_segments(photo)
    return folder.notes


def read_panoptic_json(path: Path) -> object:
    root = _folder(path, "panoptic")
    (root / "panoptic.json").write_bytes(path.read_bytes())
    return _read_all(open_panoptic(root, "all"))


def read_panoptic_png(path: Path) -> object:
    root = _folder(path, "panoptic")
    (root / "panoptic" / "a.png").write_bytes(path.read_bytes())
    return _read_all(PanopticFolder(root))


def read_instances(path: Path) -> object:
    root = _folder(path, "instances")
    return _read_all(InstanceFolder(root, "own", None, root / "images", path))


def read_mask(path: Path) -> object:
    maps = ClassMaps(path.parent, path.suffix, {0: 0, 1: 1}, [255])
    return np.unique(maps.load(Photo(1, "input.jpg", trees.WIDTH, trees.HEIGHT, (), path.name)))


READERS = [
    Reader("panoptic JSON", panoptic_json, read_panoptic_json, ".json"),
    Reader("panoptic PNG", panoptic_png, read_panoptic_png, ".png"),
    Reader("instances JSON", instances_json, read_instances, ".json"),
    Reader("index mask PNG", mask, read_mask, ".png"),
    Reader("index mask TIFF", tiff_mask, read_mask, ".tif"),
]
