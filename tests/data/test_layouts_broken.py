"""Every layout with every kind of defect: one message that names the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eovseg.data import commands
from eovseg.data.check import check
from eovseg.data.data_sets import open_data_set
from eovseg.errors import DataError
from tests.data import trees

Tree = Callable[[Path], Path]
Damage = Callable[[Path], object]


def _json(path: str, change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda root: trees.edit_json(root / path, change)


def _remove(path: str) -> Damage:
    return lambda root: (root / path).unlink()


def _resize(path: str) -> Damage:
    def damage(root: Path) -> None:
        with Image.open(root / path) as image:
            image.resize((23, 16), Image.Resampling.NEAREST).save(root / path)

    return damage


def _cut(path: str) -> Damage:
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:50])


def _first(document: dict[str, Any]) -> list[dict[str, Any]]:
    segments: list[dict[str, Any]] = document["annotations"][0]["segments_info"]
    return segments


def panoptic_damages(name: str, tree: Tree, annotations: str, png: str, photo: str) -> list[Any]:
    """Defects of any panoptic layout; the paths are those of its first photo."""
    listed, mask, picture = Path(annotations).name, Path(png).name, Path(photo).name
    damages: dict[str, tuple[Damage, str]] = {
        "missing JSON": (_remove(annotations), f"{listed} is missing"),
        "broken JSON": (lambda root: (root / annotations).write_text("{"), f"{listed} is not valid JSON"),
        "missing PNG": (_remove(png), f"{mask} is missing"),
        "missing photo": (_remove(photo), f"{picture} is missing"),
        "wrong size of PNG": (_resize(png), rf"{mask} is 23x16 pixels, but its data set says 24x16"),
        "wrong size of photo": (_resize(photo), rf"{picture} is 23x16 pixels, but its data set says 24x16"),
        "cut PNG": (_cut(png), f"{mask} cannot be read as an image"),
        "unknown category": (
            _json(annotations, lambda d: _first(d)[0].update(category_id=999)),
            f"{listed} uses unknown category id 999 in .*jpg|{listed} uses unknown category id 999 in .*png",
        ),
        "unknown id in the PNG": (
            _json(annotations, lambda d: _first(d).pop()), rf"{mask} has segment ids that .*{listed} does not list"
        ),
        "duplicate segment id": (
            _json(annotations, lambda d: _first(d).append(_first(d)[0])), f"{listed} lists a segment id of .* twice"
        ),
        "duplicate image id": (
            _json(annotations, lambda d: d["images"].append(d["images"][0])), f"{listed} lists image id .* twice"
        ),
        "duplicate annotation": (
            _json(annotations, lambda d: d["annotations"].append(d["annotations"][0])),
            f"{listed} annotates image id .* twice",
        ),
        "empty annotation": (
            _json(annotations, lambda d: _first(d).clear()), f"{listed} lists no segments for .*, but its PNG has some"
        ),
        "no annotation": (_json(annotations, lambda d: d["annotations"].pop(0)), f"{listed} has no annotation for "),
    }  # fmt: skip
    return [pytest.param(name, tree, *damage, id=f"{name}: {what}") for what, damage in damages.items()]


def mask_damages(name: str, tree: Tree, mask: str, photo: str, unknown: int) -> list[Any]:
    """Defects of any index mask layout."""
    file, picture = Path(mask).name, Path(photo).name
    damages: dict[str, tuple[Damage, str]] = {
        "missing mask": (_remove(mask), f"{file} is missing|{file[:-4]}.* is missing"),
        "missing photo": (_remove(photo), f"{picture} was not found"),
        "wrong size of mask": (_resize(mask), f"{file} is 23x16 pixels, but its photo is 24x16"),
        "wrong size of photo": (_resize(photo), f"{file} is 24x16 pixels, but its photo is 23x16"),
        "cut mask": (_cut(mask), f"{file} cannot be read as an image"),
        "colour image": (lambda root: Image.new("RGB", (24, 16)).save(root / mask), rf"{file} is a colour image"),
        "unknown class": (
            lambda root: trees.index_mask(root / mask, trees.boxes(((0, 4, 0, 4), unknown))),
            rf"{file} has values that are not in the class list: \[.*{unknown}",
        ),
    }
    return [pytest.param(name, tree, *damage, id=f"{name}: {what}") for what, damage in damages.items()]


CITY = trees.CITY_STEMS[0]
VISTAS = "mapillary_vistas/validation"
VOC = "VOCdevkit/VOC2012"
PREPARED = {
    "voc": ("pascal_voc_d2/annotations_pascal20/validation", "pascal_voc_d2/images/validation"),
    "59": ("pascal_ctx_d2/annotations_ctx59/validation", "pascal_ctx_d2/images/validation"),
    "459": ("pascal_ctx_d2/annotations_ctx459/validation", "pascal_ctx_d2/images/validation"),
    "847": ("ADE20K_2021_17_01/annotations_detectron2/validation", "ADE20K_2021_17_01/images_detectron2/validation"),
}
DAMAGES = [
    *panoptic_damages(
        "coco-panoptic", trees.coco, "annotations/panoptic_val2017.json",
        "panoptic_val2017/000000000139.png", "val2017/000000000139.jpg",
    ),
    *panoptic_damages(
        "ade20k", trees.ade20k, "ADEChallengeData2016/ade20k_panoptic_val.json",
        f"ADEChallengeData2016/ade20k_panoptic_val/{trees.ADE_STEMS[0]}.png",
        f"ADEChallengeData2016/images/validation/{trees.ADE_STEMS[0]}.jpg",
    ),
    *panoptic_damages(
        "cityscapes", trees.cityscapes, "gtFine/cityscapes_panoptic_val.json",
        f"gtFine/cityscapes_panoptic_val/{CITY}_gtFine_panoptic.png",
        f"leftImg8bit/val/frankfurt/{CITY}_leftImg8bit.png",
    ),
    *panoptic_damages(
        "mapillary-vistas", trees.mapillary, f"{VISTAS}/panoptic/panoptic_2018.json",
        f"{VISTAS}/panoptic/{trees.VISTAS_STEMS[0]}.png", f"{VISTAS}/images/{trees.VISTAS_STEMS[0]}.jpg",
    ),
    *panoptic_damages(
        "mapillary-vistas-2", trees.mapillary_2, f"{VISTAS}/v2.0/panoptic/panoptic_2020.json",
        f"{VISTAS}/v2.0/panoptic/{trees.VISTAS_STEMS[0]}.png", f"{VISTAS}/images/{trees.VISTAS_STEMS[0]}.jpg",
    ),
    *panoptic_damages("panoptic-folder", trees.own_panoptic, "panoptic.json", "panoptic/a.png", "images/a.jpg"),
    *mask_damages(
        "pascal-voc-20", trees.pascal_voc, f"{VOC}/SegmentationClass/{trees.VOC_STEMS[0]}.png",
        f"{VOC}/JPEGImages/{trees.VOC_STEMS[0]}.jpg", 21,
    ),
    *mask_damages(
        "pascal-voc-20", trees.pascal_voc_d2, f"{PREPARED['voc'][0]}/{trees.VOC_STEMS[0]}.png",
        f"{PREPARED['voc'][1]}/{trees.VOC_STEMS[0]}.jpg", 20,
    )[2:],  # without a list of photos and masks, see test_unpaired_files
    *mask_damages(
        "pascal-context-59", trees.pascal_context_59, f"{PREPARED['59'][0]}/{trees.CONTEXT_STEMS[0]}.png",
        f"{PREPARED['59'][1]}/{trees.CONTEXT_STEMS[0]}.jpg", 59,
    )[2:],
    *mask_damages(
        "pascal-context-459", trees.pascal_context_459, f"{PREPARED['459'][0]}/{trees.CONTEXT_STEMS[0]}.tif",
        f"{PREPARED['459'][1]}/{trees.CONTEXT_STEMS[0]}.jpg", 459,
    )[2:],
    *mask_damages(
        "ade20k-847", trees.ade20k_full, f"{PREPARED['847'][0]}/{trees.ADE_STEMS[0]}.tif",
        f"{PREPARED['847'][1]}/{trees.ADE_STEMS[0]}.jpg", 847,
    )[2:],
    *mask_damages("mask-folder", trees.own_masks, "masks/a.png", "images/a.jpg", 2)[2:],
]  # fmt: skip


@pytest.mark.parametrize(("name", "tree", "damage", "message"), DAMAGES)
def test_broken_files_are_reported_in_one_sentence(
    tmp_path: Path, name: str, tree: Tree, damage: Damage, message: str
) -> None:
    root = tree(tmp_path)
    assert check(name, root).ok
    damage(root)
    report = check(name, root)
    assert not report.ok
    assert len(report.broken) == 1, report.broken
    sentence = report.broken[0]
    assert sentence.endswith(".") and "\n" not in sentence
    with pytest.raises(DataError, match=message):
        raise DataError(sentence)


def test_a_truncated_photo_is_reported(tmp_path: Path) -> None:
    root = trees.own_masks(tmp_path)
    photo = root / "images" / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (trees.HEIGHT, trees.WIDTH, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photo)
    photo.write_bytes(photo.read_bytes()[:-200])  # the header, and so the size, can still be read
    (sentence,) = check("mask-folder", root).broken
    assert f"{photo} is damaged or truncated" in sentence


MASK_LAYOUTS = [
    ("pascal-voc-20", trees.pascal_voc_d2, *PREPARED["voc"], trees.VOC_STEMS[0], ".png"),
    ("pascal-context-59", trees.pascal_context_59, *PREPARED["59"], trees.CONTEXT_STEMS[0], ".png"),
    ("pascal-context-459", trees.pascal_context_459, *PREPARED["459"], trees.CONTEXT_STEMS[0], ".tif"),
    ("ade20k-847", trees.ade20k_full, *PREPARED["847"], trees.ADE_STEMS[0], ".tif"),
    ("mask-folder", trees.own_masks, "masks", "images", "a", ".png"),
]


@pytest.mark.parametrize(("name", "tree", "masks", "photos", "stem", "suffix"), MASK_LAYOUTS)
def test_unpaired_files(tmp_path: Path, name: str, tree: Tree, masks: str, photos: str, stem: str, suffix: str) -> None:
    root = tree(tmp_path)
    (root / masks / f"{stem}{suffix}").unlink()
    with pytest.raises(DataError, match=rf"{stem}{suffix} is missing; it should be the mask of .*{stem}\.jpg"):
        open_data_set(name, root)
    root = tree(tmp_path / "again")
    (root / photos / f"{stem}.jpg").unlink()
    with pytest.raises(DataError, match=rf"{stem}{suffix} has no photo in .*{Path(photos).name}"):
        open_data_set(name, root)


INSTANCES = "annotations/instances_val2017.json"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove(INSTANCES), "instances_val2017.json is missing"),
        (lambda root: (root / INSTANCES).write_text("[]"), "instances_val2017.json is not COCO instances JSON"),
        (_remove("val2017/000000000285.jpg"), "000000000285.jpg is missing"),
        (_resize("val2017/000000000285.jpg"), "000000000285.jpg is 23x16 pixels, but its data set says 24x16"),
        (_json(INSTANCES, lambda d: d["annotations"][0].update(id=6)), "lists annotation id 6 twice"),
        (_json(INSTANCES, lambda d: d["images"].append(d["images"][0])), "lists image id 139 twice"),
        (_json(INSTANCES, lambda d: d["annotations"][0].update(image_id=1)), "annotation 5 for image id 1, which"),
        (_json(INSTANCES, lambda d: d["annotations"][0].update(category_id=187)), "category id 187 in 0+139.jpg"),
        (
            _json(INSTANCES, lambda d: d["annotations"][1]["segmentation"].update(size=[9, 9])),
            "annotation 6 of 0+139.jpg is invalid",
        ),
        (
            _json(INSTANCES, lambda d: d["annotations"][2]["segmentation"].update(size=[8, 24])),
            r"instances_val2017.json: annotation 7 of 0+285.jpg is invalid: its mask is 24x8, but the photo is 24x16",
        ),
    ],
)  # fmt: skip
def test_broken_instances(tmp_path: Path, damage: Damage, message: str) -> None:
    root = trees.coco(tmp_path)
    damage(root)
    report = check("coco-instances", root)
    assert len(report.broken) == 1
    with pytest.raises(DataError, match=message):
        raise DataError(report.broken[0])


def test_broken_semantic_masks_of_ade20k(tmp_path: Path) -> None:
    root = trees.ade20k(tmp_path)
    mask = root / "ADEChallengeData2016" / "annotations" / "validation" / f"{trees.ADE_STEMS[1]}.png"
    trees.index_mask(mask, trees.boxes(background=151))
    assert check("ade20k", root).broken == [f"{mask} has values that are not in the class list: [151]."]


def test_ids_of_another_tool_are_noticed(tmp_path: Path) -> None:
    """Cityscapes' converter can write training ids, which stand for other classes."""
    root = trees.cityscapes(tmp_path)
    train_ids = [{"id": i, "name": name, "isthing": thing} for i, name, thing in [(11, "person", 1), (13, "car", 1)]]
    trees.edit_json(root / "gtFine" / "cityscapes_panoptic_val.json", lambda d: d.update(categories=train_ids))
    with pytest.raises(DataError, match=r"panoptic_val.json has different category ids from cityscapes val"):
        open_data_set("cityscapes", root)


def test_lists_and_names_given_twice(tmp_path: Path) -> None:
    root = trees.pascal_voc(tmp_path / "voc")
    names = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "val.txt"
    names.write_text("\n".join([*trees.VOC_STEMS, trees.VOC_STEMS[0]]))
    with pytest.raises(DataError, match=r"val.txt lists 2007_000033 twice"):
        open_data_set("pascal-voc-20", root)
    root = trees.own_masks(tmp_path / "own")
    trees.photo(root / "images" / "a.png")
    with pytest.raises(DataError, match=r"a.png and .*a.jpg share the mask .*a.png"):
        open_data_set("mask-folder", root)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.txt", "robot\n\nsky\n", "classes.txt: line 2 must name exactly one class"),
        ("classes.txt", "robot; sky\n", "classes.txt: line 1 must name exactly one class"),
        ("classes.txt", "", r"classes.txt: The vocabulary is empty"),
        ("classes.txt", "1: robot\n70000: sky", "classes.txt has the number 70000; mask values are 0 to 65535"),
        ("classes.json", "{", "classes.json: The vocabulary file .* is not valid JSON"),
        ("classes.json", json.dumps({"classes": [{"names": ["a"]}, {"names": [" "]}]}), "json has a class without"),
        (
            "classes.json",
            json.dumps({"classes": [{"names": ["a"], "dataset_id": 1}, {"names": ["b"]}]}),
            "classes.json gives two classes the number 1",
        ),
    ],
)  # fmt: skip
def test_broken_class_lists(tmp_path: Path, file: str, text: str, message: str) -> None:
    root = trees.own_masks(tmp_path)
    (root / file).write_text(text)
    with pytest.raises(DataError, match=message):
        open_data_set("mask-folder", root)


def test_several_broken_files_are_counted_and_quick_reads_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.own_masks(tmp_path)
    for stem in "ab":
        trees.index_mask(root / "masks" / f"{stem}.png", np.full((trees.HEIGHT, trees.WIDTH), 7))
    report = check("mask-folder", root)
    assert [f"{stem}.png has values" in line for stem, line in zip("ab", report.broken, strict=True)] == [True, True]
    assert "Errors were found in 2 photos; the line above describes the first." in report.lines()
    trees.index_mask(root / "masks" / "a.png", trees.boxes())
    monkeypatch.setattr(commands, "QUICK_PHOTOS", 1)
    report = check("mask-folder", root, limit=1)
    assert report.ok
    assert report.notes == ["Only the first 1 annotations were read; omit --quick to read all."]
