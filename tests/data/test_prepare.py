"""`eovseg data prepare`: built files against manually verified maps, interrupted builds, and errors."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eovseg.data.check import check
from eovseg.data.data_sets import data_set, open_data_set
from eovseg.data.label_files import read_index
from eovseg.data.layouts import ade20k, building
from eovseg.data.layouts.ade20k_full import reduced_size
from eovseg.data.panoptic_folder import read_segment_ids
from eovseg.errors import DataError
from tests.data import trees

CASES = [
    ("ade20k", trees.ade20k_release),
    ("ade20k-847", trees.ade20k_full_release),
    ("pascal-context-59", trees.pascal_context_release),
    ("pascal-context-459", trees.pascal_context_release),
    ("cityscapes", trees.cityscapes_release),
]


def prepare(name: str, root: Path, output: Path | None = None) -> str:
    """Builds the validation split; returns the message."""
    builder = data_set(name).prepare
    assert builder is not None
    return builder(root, "val", output)


def test_cities_may_be_links_to_folders(tmp_path: Path) -> None:
    root, store = trees.cityscapes_release(tmp_path / "cityscapes"), tmp_path / "store"
    for part in ("leftImg8bit", "gtFine"):
        for city in sorted((root / part / "val").iterdir()):
            moved = store / part / city.name
            moved.parent.mkdir(parents=True, exist_ok=True)
            city.rename(moved)
            try:
                city.symlink_to(moved, target_is_directory=True)
            except OSError:
                pytest.skip("links are not supported")
    prepare("cityscapes", root)
    report = check("cityscapes", root)
    assert report.ok and report.photos == 2, report.lines()


@pytest.mark.parametrize(("name", "tree"), CASES)
def test_builds_are_complete_and_not_repeated(tmp_path: Path, name: str, tree: Callable[[Path], Path]) -> None:
    root = tree(tmp_path)
    assert not check(name, root).ok
    with pytest.raises(DataError, match=f"prepare {name} ROOT --split val` builds it"):
        open_data_set(name, root)
    assert prepare(name, root).startswith("Built ")
    report = check(name, root)
    assert report.ok, report.lines()
    assert report.photos == 2
    built = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert "already exists" in prepare(name, root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == built
    assert not [path for path in root.rglob("*") if "partial" in path.name or path.suffix == ".progress"]


def test_ade20k_ids_and_areas(tmp_path: Path) -> None:
    root = trees.ade20k_release(tmp_path)
    prepare("ade20k", root)
    folder = root / "ADEChallengeData2016"
    document = json.loads((folder / "ade20k_panoptic_val.json").read_text())
    first, second = document["annotations"]
    # Stuff by class (wall 0, sky 2), then the two persons (12). The covered wall is still listed.
    assert [(s["id"], s["category_id"], s["area"]) for s in first["segments_info"]] == [
        (1, 0, 8),
        (2, 2, 24 * 10 - 6 * 6 - 6 * 6),
        (3, 12, 48),
        (4, 12, 12),
    ]
    assert first["segments_info"][3]["bbox"] == [0, 12, 6, 2]
    expected = trees.boxes(((0, 10, 0, 24), 2), ((4, 12, 10, 16), 0), ((4, 12, 2, 8), 3), ((12, 14, 0, 6), 4))
    assert np.array_equal(read_segment_ids(folder / "ade20k_panoptic_val" / f"{trees.ADE_STEMS[0]}.png"), expected)
    assert [(s["category_id"], s["area"]) for s in second["segments_info"]] == [(0, 384)]
    assert document["images"][0] == {
        "id": trees.ADE_STEMS[0], "file_name": f"{trees.ADE_STEMS[0]}.jpg", "width": 24, "height": 16
    }  # fmt: skip
    assert len(document["categories"]) == 150
    assert sum(category["isthing"] for category in document["categories"]) == 100


def test_the_hundred_things_are_those_of_the_instance_release() -> None:
    """First and last ones and those around gaps of the release's list (its class: SceneParsing's, from 1)."""
    things = [c.id + 1 for c in ade20k.ClassTable.preset("ade20k-150").categories.values() if c.is_thing]
    known = {1: 8, 2: 9, 4: 13, 12: 25, 35: 59, 36: 63, 64: 99, 65: 103, 80: 125, 93: 140, 94: 143, 100: 150}
    assert {place: things[place - 1] for place in known} == known
    assert len(things) == 100


def test_cityscapes_ids_crowds_and_void(tmp_path: Path) -> None:
    root = trees.cityscapes_release(tmp_path)
    prepare("cityscapes", root)
    document = json.loads((root / "gtFine" / "cityscapes_panoptic_val.json").read_text())
    record = document["annotations"][0]
    assert (record["image_id"], record["file_name"]) == (
        trees.CITY_STEMS[0],
        f"{trees.CITY_STEMS[0]}_gtFine_panoptic.png",
    )
    assert [(s["id"], s["category_id"], s["iscrowd"], s["area"]) for s in record["segments_info"]] == [
        (23, 23, 0, 192),
        (26, 26, 1, 40),
        (24001, 24, 0, 32),
        (24002, 24, 0, 32),
    ]
    ids = read_segment_ids(root / "gtFine" / "cityscapes_panoptic_val" / record["file_name"])
    assert np.array_equal(ids, np.where(trees.CITY_IDS == 3, 0, trees.CITY_IDS))
    assert document["images"][0]["file_name"] == f"{trees.CITY_STEMS[0]}_gtFine_leftImg8bit.png"


def test_pascal_context_masks(tmp_path: Path) -> None:
    root = trees.pascal_context_release(tmp_path)
    for name in ("pascal-context-59", "pascal-context-459"):
        prepare(name, root)
    folder = root / "pascal_ctx_d2"
    masks = {
        classes: read_index(folder / f"annotations_ctx{classes}" / "validation" / f"2008_000002.{suffix}")
        for classes, suffix in ((59, "png"), (459, "tif"))
    }
    assert (masks[59].dtype, masks[459].dtype) == (np.uint8, np.uint16)
    assert np.array_equal(masks[59], trees.boxes(((0, 8, 0, 24), 0), ((8, 16, 0, 12), 58), background=255))
    full = trees.boxes(((0, 8, 0, 24), 1), ((8, 16, 0, 12), 457), ((8, 16, 12, 20), 0), background=65535)
    assert np.array_equal(masks[459], full)
    assert len(list((folder / "images" / "validation").glob("*.jpg"))) == 2


def test_ade20k_847_masks_and_sizes(tmp_path: Path) -> None:
    root = trees.ade20k_full_release(tmp_path)
    prepare("ade20k-847", root)
    folder = root / "ADE20K_2021_17_01"
    small = read_index(folder / "annotations_detectron2" / "validation" / "ADE_val_00000001.tif")
    assert small.dtype == np.uint16
    assert np.array_equal(small, trees.boxes(((0, 8, 0, 24), 2), ((8, 12, 0, 12), 11), background=65535))
    large = read_index(folder / "annotations_detectron2" / "validation" / "ADE_val_00000002.tif")
    with Image.open(folder / "images_detectron2" / "validation" / "ADE_val_00000002.jpg") as image:
        assert image.size == (512, round(1040 / 600 * 512))
    assert large.shape == (887, 512)
    # Row 443 comes from row floor(443 * 1040 / 887) = 519, the last one of the sky.
    assert (large[443, 0], large[444, 0], large[-1, 0]) == (2, 11, 65535)
    assert [reduced_size(*size) for size in ((512, 900), (513, 1026), (1026, 513), (600, 600), (600, 400))] == [
        (512, 900), (512, 1024), (1024, 512), (512, 512), (600, 400)
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "tree"), CASES)
def test_an_interrupted_build_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, tree: Callable[[Path], Path]
) -> None:
    whole, stopped = tree(tmp_path / "whole"), tree(tmp_path / "stopped")
    prepare(name, whole)
    built: list[str] = []

    def one_by_one(work: Callable[[str], object], items: list[str]) -> Iterator[object]:
        for item in items:
            yield work(item)
            built.append(item)
            if len(built) == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(building, "in_threads", one_by_one)
    with pytest.raises(KeyboardInterrupt):
        prepare(name, stopped)
    assert not check(name, stopped).ok
    prepare(name, stopped)
    assert len(built) == len(set(built)) == 2, "the first is not built again"
    for path in whole.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (stopped / path.relative_to(whole)).read_bytes(), path.name


def test_another_output_folder(tmp_path: Path) -> None:
    root, output = trees.ade20k_release(tmp_path / "data"), tmp_path / "built"
    prepare("ade20k", root, output)
    assert sorted(path.name for path in output.iterdir()) == ["ade20k_panoptic_val", "ade20k_panoptic_val.json"]
    assert not (root / "ADEChallengeData2016" / "ade20k_panoptic_val.json").exists()


def _two_classes(root: Path) -> None:
    path = root / "ADEChallengeData2016" / "annotations_instance" / "validation" / f"{trees.ADE_STEMS[0]}.png"
    kinds = trees.boxes(((0, 4, 0, 4), 4), ((0, 2, 0, 4), 9))
    Image.fromarray(np.stack([kinds, kinds.clip(0, 1), kinds * 0], axis=-1).astype(np.uint8)).save(path)


def _city(value: int) -> Callable[[Path], object]:
    path = f"gtFine/val/frankfurt/{trees.CITY_STEMS[0]}_gtFine_instanceIds.png"
    return lambda root: trees.index_mask(root / path, trees.boxes(background=value))


ADE = "ADEChallengeData2016"
ADE_PHOTO = f"{ADE}/images/validation/{trees.ADE_STEMS[0]}.jpg"
ADE_MASK = f"{ADE}/annotations/validation/{trees.ADE_STEMS[0]}.png"
MAT = "VOCdevkit/VOC2010/trainval/2008_000002.mat"
SCENE = "ADE20K_2021_17_01/images/ADE/validation/urban/street"


@pytest.mark.parametrize(
    ("name", "tree", "damage", "message"),
    [
        ("ade20k", trees.ade20k_release, lambda r: (r / ADE / "annotations_instance").rename(r / "x"),
         r"annotations_instance.validation is missing; unpack annotations_instance.tar"),
        ("ade20k", trees.ade20k_release, lambda r: (r / ADE / "annotations/validation/ADE_val_00000002.png").unlink(),
         r"ADE_val_00000002.png is missing"),
        ("ade20k", trees.ade20k_release, _two_classes,
         r"ADE_val_00000001.png: instance 1 has the classes \[4, 9\]; it needs one class from 1 to 100"),
        ("ade20k", trees.ade20k_release, lambda r: trees.photo(r / ADE_PHOTO, (9, 9)),
         r"annotations.validation.ADE_val_00000001.png is 24x16 pixels, but its data set says 9x9"),
        ("ade20k", trees.ade20k_release,
         lambda r: trees.index_mask(r / ADE_MASK, trees.boxes(background=151)),
         r"ADE_val_00000001.png has the value 151; classes are 1 to 150"),
        ("ade20k-847", trees.ade20k_full_release, lambda r: (r / SCENE / "ADE_val_00000001_seg.png").unlink(),
         r"ADE_val_00000001_seg.png is missing"),
        ("ade20k-847", trees.ade20k_full_release, lambda r: (r / "ADE20K_2021_17_01").rename(r / "x"),
         r"images.ADE.validation is missing; unpack the full ADE20K release"),
        ("pascal-context-59", trees.pascal_context_release, lambda r: (r / MAT).write_bytes(b"x"),
         r"2008_000002.mat has no readable LabelMap"),
        ("pascal-context-459", trees.pascal_context_release, lambda r: (r / MAT).unlink(),
         r"2008_000002.mat has no readable LabelMap"),
        ("pascal-context-59", trees.pascal_context_release,
         lambda r: trees.photo(r / "VOCdevkit/VOC2010/JPEGImages/2008_000002.jpg", (9, 9)),
         r"2008_000002.mat is 24x16 pixels, but its data set says 9x9"),
        ("pascal-context-59", trees.pascal_context_release,
         lambda r: (r / "VOCdevkit/VOC2010/ImageSets/Main/val.txt").unlink(),
         r"val.txt is missing; unpack VOCtrainval_03-May-2010.tar"),
        ("cityscapes", trees.cityscapes_release, _city(60), r"instanceIds.png has the value 60; labels are 0 to 33"),
        ("cityscapes", trees.cityscapes_release, lambda r: (r / "gtFine").rename(r / "x"),
         r"gtFine.val has no <city>/\*_gtFine_instanceIds.png; unpack gtFine_trainvaltest.zip"),
    ],
)  # fmt: skip
def test_broken_releases(
    tmp_path: Path, name: str, tree: Callable[[Path], Path], damage: Callable[[Path], object], message: str
) -> None:
    root = tree(tmp_path)
    damage(root)
    with pytest.raises(DataError, match=message):
        prepare(name, root)
    assert not check(name, root).ok


def test_both_context_lists_have_the_same_photos(tmp_path: Path) -> None:
    """A prepared folder may contain fewer photos than the .mat files: FC-CLIP's has 4,996 of 4,998."""
    root = trees.pascal_context_release(tmp_path)
    trees.pascal_context_59(root)
    for path in (root / "pascal_ctx_d2").rglob("2008_000003.*"):
        path.unlink()
    assert prepare("pascal-context-459", root).endswith("with 1 masks.")
    assert check("pascal-context-59", root).ok
    assert check("pascal-context-459", root).photos == 1
