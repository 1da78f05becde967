"""Reading panoptic folders: a valid one, and one with each kind of defect."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError
from tests.data.conftest import FolderWriter, block_drawing, colour_of


def test_reads_what_was_written(write_folder: FolderWriter) -> None:
    ids, segments = block_drawing()
    ids[ids == 2] = 70_000  # needs all three bytes
    root = write_folder("good", {"a": (np.minimum(ids, 3), segments)}, coco_ids={"a": 9}, exhaustive_category_ids=[1])
    packed = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(packed).save(root / "panoptic" / "a.png")
    document = json.loads((root / "panoptic.json").read_text())
    document["annotations"][0]["segments_info"][1]["id"] = 70_000
    document["images"][0]["neg_category_ids"] = [17]
    (root / "panoptic.json").write_text(json.dumps(document))
    folder = PanopticFolder(root)
    (photo,) = folder.photos
    assert (folder.name, len(folder), folder.semantic_only) == ("good", 1, False)
    assert folder.exhaustive_category_ids == {1}
    assert folder.categories[187].name == "sky"
    assert not folder.categories[187].is_thing
    assert (photo.coco_id, photo.negative_category_ids, photo.width, photo.height) == (9, (17,), 64, 48)
    segment_map = folder.load_segment_map(photo)
    assert segment_map.dtype == np.int32
    assert np.array_equal(segment_map, ids)
    image = folder.load_image(photo)
    assert image.dtype == np.uint8
    assert tuple(image[-6, 6]) == colour_of(1)


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        document = json.loads((root / "panoptic.json").read_text())
        change(document)
        (root / "panoptic.json").write_text(json.dumps(document))

    return edit


def _segment(document: dict[str, Any], **entries: Any) -> None:
    document["annotations"][0]["segments_info"][0].update(entries)


BROKEN = {
    "missing JSON": (lambda root: (root / "panoptic.json").unlink(), "broken has no panoptic.json; a COCO panoptic f"),
    "missing folders": (lambda root: [shutil.rmtree(one) for one in root.glob("*/")], "has no images, panoptic; a"),
    "broken JSON": (lambda root: (root / "panoptic.json").write_text('{"images": ['), "panoptic.json is not valid"),
    "a list": (lambda root: (root / "panoptic.json").write_text("[1]"), "panoptic.json is not COCO panoptic"),
    "no categories": (_edit(lambda d: d.pop("categories")), "panoptic.json is not COCO panoptic"),
    "missing PNG": (lambda root: (root / "panoptic" / "a.png").unlink(), "a.png is missing"),
    "missing photo": (lambda root: (root / "images" / "a.png").unlink(), "a.png is missing"),
    "unknown category": (_edit(lambda d: _segment(d, category_id=5)), "unknown category id 5 in a.png"),
    "duplicate category": (_edit(lambda d: d["categories"].append(d["categories"][0])), "category id 1 twice"),
    "duplicate image": (_edit(lambda d: d["images"].append(d["images"][0])), "image id 1 twice"),
    "duplicate annotation": (_edit(lambda d: d["annotations"].append(d["annotations"][0])), "image id 1 twice"),
    "duplicate segment": (_edit(lambda d: _segment(d, id=2)), "segment id of a.png twice"),
    "segment id 0": (
        _edit(lambda d: _segment(d, id=0)),
        r"panoptic.json: segment 0 of a\.png has id 0; it must be an integer from 1 to 16,777,215",
    ),
    "no segments": (_edit(lambda d: d["annotations"][0]["segments_info"].clear()), "no segments for a.png"),
    "no annotation": (_edit(lambda d: d["annotations"].clear()), "no annotation for a.png"),
    "orphan annotation": (_edit(lambda d: d["images"].clear()), r"does not list: \[1\]"),
    "no photos": (_edit(lambda d: (d["images"].clear(), d["annotations"].clear())), "lists no photos"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folder_names_the_file(write_folder: FolderWriter, name: str) -> None:
    root = write_folder("broken", {"a": block_drawing()})
    damage, message = BROKEN[name]
    damage(root)
    with pytest.raises(DataError, match=message):
        PanopticFolder(root)


def test_wrong_sizes_unreadable_files_and_unlisted_ids_show_on_loading(write_folder: FolderWriter) -> None:
    root = write_folder("sizes", {"a": block_drawing(), "b": block_drawing(), "c": block_drawing()})
    Image.new("RGB", (64, 47)).save(root / "panoptic" / "a.png")
    Image.new("RGB", (63, 48)).save(root / "images" / "a.png")
    (root / "panoptic" / "b.png").write_bytes((root / "panoptic" / "b.png").read_bytes()[:60])
    Image.new("RGB", (64, 48), (9, 0, 0)).save(root / "panoptic" / "c.png")
    folder = PanopticFolder(root)
    a, b, c = folder.photos
    with pytest.raises(DataError, match=r"panoptic.a\.png is 64x47 pixels, .* says 64x48"):
        folder.load_segment_map(a)
    with pytest.raises(DataError, match=r"images.a\.png is 63x48"):
        folder.load_image(a)
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        folder.load_segment_map(b)
    with pytest.raises(DataError, match=r"c\.png has segment ids .* does not list: \[9\]"):
        folder.load_segment_map(c)
