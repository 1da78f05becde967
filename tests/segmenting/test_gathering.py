"""Files about all photos are equal for a single run, a resumed run and shards, and list every photo once."""

import json
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from eovseg.errors import EovsegError
from eovseg.formats import WRITERS, with_needs
from eovseg.segmenting.folder import Destination, segment_photos
from eovseg.segmenting.gathering import gather
from eovseg.segmenting.index import Index
from eovseg.segmenting.photos import list_photos
from eovseg.segmenting.sharding import Shard
from tests.segmenting.conftest import VOCABULARY, threshold, write_photos

KINDS = with_needs(WRITERS)
NAMES = ["a.png", "sub/a.png", "sub/b c.png", "z.png"]


def run(folder: Path, out: Path, shard: Shard = Shard(), most: int = 99, settings: str = "s") -> None:  # noqa: B008
    """One run over `folder`, stopped after `most` photos."""
    photos = list_photos([str(folder)], recursive=True, output=out)
    own = [photo for photo in photos if photo.share(shard.count) == shard.number]
    done = iter(range(1, 100))
    with Index(out, shard.index_name, settings, KINDS) as index:
        segment_photos(threshold, own, Destination(out, KINDS), index, stop=lambda: next(done) >= most)
    gather(out, settings, VOCABULARY, KINDS)


def documents(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith("index")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "in", NAMES)
    return tmp_path / "in"


def test_resumed_and_sharded_runs_end_with_the_same_files(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "one")
    whole = documents(tmp_path / "one")
    assert {"coco-instances.json", "coco-panoptic.json", "label-studio.json", "label-studio.xml", "cvat.xml"} <= set(
        whole
    )
    assert {"yolo/data.yaml", "yolo/labels/a.txt", "yolo/labels/sub/b c.txt", "labelme/sub/a.json"} <= set(whole)
    run(photos, tmp_path / "two", most=1)
    assert len(COCO(str(tmp_path / "two" / "coco-instances.json")).imgs) == 1
    run(photos, tmp_path / "two")
    assert documents(tmp_path / "two") == whole
    for number in (1, 0):
        run(photos, tmp_path / "three", Shard(number, 2))
    assert documents(tmp_path / "three") == whole


def test_every_photo_is_listed_once_with_its_own_masks(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out)
    coco = COCO(str(out / "coco-instances.json"))
    assert [image["file_name"] for image in coco.imgs.values()] == NAMES
    assert sorted(coco.anns) == list(range(1, len(coco.anns) + 1))
    for number, image in coco.imgs.items():
        truth = threshold(np.asarray(Image.open(photos / image["file_name"])))
        for annotation in coco.imgToAnns[number]:
            np.testing.assert_array_equal(coco.annToMask(annotation), truth.segment_map == annotation["category_id"])
    panoptic = json.loads((out / "coco-panoptic.json").read_bytes())
    assert [one["file_name"] for one in panoptic["annotations"]][1:3] == ["sub/a-panoptic.png", "sub/b c-panoptic.png"]
    assert all((out / one["file_name"]).exists() for one in panoptic["annotations"])
    tasks = json.loads((out / "label-studio.json").read_bytes())
    assert [task["data"]["image"] for task in tasks] == [f"/data/local-files/?d={quote(name)}" for name in NAMES]
    images = ElementTree.parse(out / "cvat.xml").findall("image")
    assert [(image.get("id"), image.get("name")) for image in images] == [
        (str(n), name) for n, name in enumerate(NAMES)
    ]
    labelme = json.loads((out / "labelme" / "sub" / "b c.json").read_bytes())
    assert (out / "labelme" / "sub" / labelme["imagePath"]).resolve() == (photos / "sub" / "b c.png").resolve()


def test_a_photo_that_fails_later_is_omitted(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out)
    (photos / "a.png").write_bytes(b"no photo any more")
    run(photos, out)
    assert [image["file_name"] for image in COCO(str(out / "coco-instances.json")).imgs.values()] == NAMES[1:]


def test_no_photos(tmp_path: Path) -> None:
    gather(tmp_path, "s", VOCABULARY, KINDS)
    assert COCO(str(tmp_path / "coco-instances.json")).imgs == {}
    assert json.loads((tmp_path / "label-studio.json").read_bytes()) == []
    assert ElementTree.parse(tmp_path / "cvat.xml").findall("image") == []


def test_a_damaged_part_is_reported(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out")
    (tmp_path / "out" / "a-cvat.xml").write_text("<annot")
    with pytest.raises(EovsegError, match=r"cvat\.xml\" cannot be combined from the files of the photos"):
        gather(tmp_path / "out", "s", VOCABULARY, KINDS)
    assert not list((tmp_path / "out").glob(".*part"))
