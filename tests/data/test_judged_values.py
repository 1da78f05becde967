"""Values of label files are validated: areas, ids, names, numbers, masks and file names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from eovseg.cli import main
from eovseg.data.batches import BatchSettings, TrainingBatches
from eovseg.data.check import check
from eovseg.data.classes import TrainingClasses
from eovseg.data.coco_masks import drawn_mask, is_empty
from eovseg.data.data_sets import open_data_set
from eovseg.data.entries import Entry
from eovseg.data.layouts.own import read_classes
from eovseg.data.sources import TrainingSource
from eovseg.errors import DataError
from eovseg.evaluation import __main__ as evaluation
from eovseg.evaluation.evaluate import Evaluator
from eovseg.evaluation.panoptic_quality import PanopticQuality
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.training.data_choice import choose_data
from tests.data import trees

HEIGHT, WIDTH = trees.HEIGHT, trees.WIDTH


def _first(document: dict[str, Any]) -> dict[str, Any]:
    segment: dict[str, Any] = document["annotations"][0]["segments_info"][0]
    return segment


def _pq(root: Path) -> float:
    """PQ, 0 to 1, of the ground truth against itself."""
    folder = open_data_set("panoptic-folder", root)
    assert folder.table is not None
    evaluator = Evaluator(folder, folder.table.vocabulary, np.zeros(2, dtype=bool))
    quality = PanopticQuality(evaluator.vocabulary.is_thing)
    for photo in folder.photos:
        truth = evaluator.truth(photo)
        found = {i: c for i, c in truth.classes.items() if i not in truth.crowd}
        predicted = np.where(np.isin(truth.segment_map, list(found)), truth.segment_map, 0)
        quality.add(predicted, found, truth.segment_map, truth.classes, truth.crowd)
    return quality.compute().all.pq


@pytest.mark.parametrize("area", [48, 768, -50, 0, 1e300, None, "192", [], True])
def test_areas_are_counted_regardless_of_the_file(tmp_path: Path, area: Any) -> None:
    root = trees.own_panoptic(tmp_path)
    trees.edit_json(root / "panoptic.json", lambda d: _first(d).update(area=area))
    assert _pq(root) == pytest.approx(1.0)


def test_data_check_reports_wrong_areas(tmp_path: Path) -> None:
    root = trees.own_panoptic(tmp_path)
    trees.edit_json(root / "panoptic.json", lambda d: _first(d).update(area=-50))
    report = check("panoptic-folder", root)
    assert report.ok
    (note,) = report.notes
    assert note == (
        "Wrong areas in the annotations: 1, the first in a.jpg: -50 pixels for segment 70000 that has 192. Areas of "
        "segments are not used; areas of objects decide whether AP counts them as small, medium or large."
    )
    root = trees.own_instances(tmp_path / "instances")
    trees.edit_json(root / "instances.json", lambda d: d["annotations"][0].update(area=9_000))
    assert (
        "a.jpg: 9,000 pixels for an object of category 1 that has 96." in check("coco-instances-folder", root).notes[0]
    )


JUDGED = [
    (lambda d: _first(d).update(id=2**31), r"segment 2147483648 of a\.jpg has id 2147483648; .* 1 to 16,777,215"),
    (lambda d: _first(d).update(id=2**24), "it must be an integer from 1 to 16,777,215"),
    (lambda d: _first(d).update(id=-1), "it must be an integer from 1 to 16,777,215"),
    (lambda d: _first(d).update(id=1.5), "segment 1.5 of a.jpg has id 1.5; it must be an integer"),
    (lambda d: _first(d).update(id=True), "has id True; it must be an integer"),
    (
        lambda d: _first(d).update(category_id="sky"),
        "segment 70000 of a.jpg has category_id 'sky'; it must be an integer",
    ),
    (lambda d: _first(d).update(iscrowd="no"), "segment 70000 of a.jpg has iscrowd 'no'; it must be 1 or 0"),
    (lambda d: d["annotations"].__setitem__(0, 7), "each annotation must be a JSON object, not 7"),
    (lambda d: d["annotations"][0].update(segments_info=None), "annotation 1 has no segments_info"),
    (lambda d: d["annotations"][0].update(file_name=7), "annotation 1 has file_name 7; it must be non-empty text"),
    (lambda d: d["categories"][0].update(name=""), "panoptic.json: category 4 has name ''; it must be non-empty text"),
    (lambda d: d["categories"][0].update(name=","), 'category 4 has the name ","'),
    (lambda d: d["categories"][0].update(name="tv; monitor"), 'category 4 has the name "tv; monitor". .* semicolon'),
    (lambda d: d["categories"][0].update(name="tv\u0000"), "category 4 has the name"),
    (lambda d: d["categories"][0].update(name="x" * 300), "category 4 has the name .* at most 200 characters"),
    (lambda d: d["categories"][0].update(isthing="yes"), "category 4 has isthing 'yes'; it must be 1 or 0"),
    (lambda d: d["categories"][0].pop("isthing"), "category 4 has no isthing"),
    (lambda d: d["categories"][0].update(id=2**40), "category 1099511627776 has id 1099511627776"),
    (lambda d: d["categories"].clear(), "uses unknown category id 9"),
    (lambda d: d["images"][0].update(width=0), "image 1 has width 0; it must be an integer from 1 to 65,535"),
    (lambda d: d["images"][0].update(width=60_000, height=60_000), "image 1 has 60,000 x 60,000 pixels"),
    (
        lambda d: d["images"][0].update(width=8_000, height=8_001),
        "image 1 has 8,000 x 8,001 pixels; at most 64,000,000",
    ),
    (lambda d: d["images"][0].update(id=True), "image True has id True"),
    (lambda d: d["images"][0].update(coco_id="x"), "image 1 has coco_id 'x'"),
    (lambda d: d["images"][0].update(file_name="a" * 400), "at most 300 characters"),
    (lambda d: d["images"][0].update(file_name="a\u0000.jpg"), "is missing"),
    (lambda d: d.update(semantic_only="no"), "the file has semantic_only 'no'; it must be 1 or 0"),
    (lambda d: d.update(exhaustive_category_ids=7), "has exhaustive_category_ids 7; it must be a list of integers"),
    (lambda d: d.update(images={}), "is not COCO panoptic JSON; it must contain the lists `images`"),
]


@pytest.mark.parametrize(("change", "message"), JUDGED)
def test_invalid_panoptic_values_are_reported_with_file_and_entry(tmp_path: Path, change: Any, message: str) -> None:
    root = trees.own_panoptic(tmp_path)
    trees.edit_json(root / "panoptic.json", change)
    with pytest.raises(DataError, match=message) as caught:
        open_data_set("panoptic-folder", root)
    assert "\n" not in str(caught.value)


def test_numbers_as_text_or_floats_are_accepted(tmp_path: Path) -> None:
    root = trees.own_panoptic(tmp_path)
    trees.edit_json(root / "panoptic.json", lambda d: _first(d).update(id=70_000.0, category_id="9", iscrowd=False))
    assert check("panoptic-folder", root).ok
    assert Entry(Path("x"), "image", {"id": "-3"}).key("id") == "-3"


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
def test_a_grey_panoptic_png_is_refused_as_such(tmp_path: Path, mode: str) -> None:
    root = trees.own_panoptic(tmp_path)
    Image.new(mode, (WIDTH, HEIGHT)).save(root / "panoptic" / "a.png")
    (sentence,) = check("panoptic-folder", root).broken
    assert "a.png is a greyscale image" in sentence and "red + 256 green + 65,536 blue" in sentence


def test_a_panoptic_png_may_have_a_palette_or_transparency(tmp_path: Path) -> None:
    root = trees.own_panoptic(tmp_path)
    path = root / "panoptic" / "a.png"
    with Image.open(path) as image:
        image.convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(path)
    assert check("panoptic-folder", root).ok
    with Image.open(path) as image:
        image.convert("RGBA").save(path)
    assert check("panoptic-folder", root).ok


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_in_json_are_accepted(tmp_path: Path, encoding: str) -> None:
    for name, tree, file in (
        ("panoptic-folder", trees.own_panoptic, "panoptic.json"),
        ("coco-instances-folder", trees.own_instances, "instances.json"),
        ("mapillary-vistas-2", trees.mapillary_2, "mapillary_vistas/config_v2.0.json"),
    ):
        path = tree(tmp_path / name) / file
        path.write_text(path.read_text(), encoding=encoding)
        assert check(name, tmp_path / name).ok, name
    if encoding == "utf-8-sig":
        root = trees.own_masks(tmp_path / "masks")
        (root / "classes.json").write_text('{"classes": [{"names": ["a"]}, {"names": ["b"]}]}', encoding=encoding)
        assert check("mask-folder", root).ok
        root = trees.pascal_voc(tmp_path / "voc")
        names = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "val.txt"
        names.write_text(names.read_text(), encoding=encoding)
        assert check("pascal-voc-20", root).ok


def test_windows_paths_are_found(tmp_path: Path) -> None:
    root = trees.own_panoptic(tmp_path / "panoptic")
    for folder, name in (("images", "a.jpg"), ("panoptic", "a.png")):
        (root / folder / "sub").mkdir()
        (root / folder / name).rename(root / folder / "sub" / name)

    def windows(document: dict[str, Any]) -> None:
        document["images"][0]["file_name"] = "sub\\a.jpg"
        document["annotations"][0]["file_name"] = "sub\\a.png"

    trees.edit_json(root / "panoptic.json", windows)
    assert check("panoptic-folder", root).ok
    assert open_data_set("panoptic-folder", root).photos[0].file_name == "sub/a.jpg"
    root = trees.own_instances(tmp_path / "instances")
    (root / "images" / "sub").mkdir()
    (root / "images" / "a.jpg").rename(root / "images" / "sub" / "a.jpg")
    trees.edit_json(root / "instances.json", lambda d: d["images"][0].update(file_name="sub\\a.jpg"))
    assert check("coco-instances-folder", root).ok


SQUARE = [2.0, 2.0, 10.0, 2.0, 10.0, 10.0, 2.0, 10.0]


@pytest.mark.parametrize(
    "shape",
    [None, [], [[]], [2, 2, 10, 10], [[2, 2, 10, 10]], [[1, 1], []],
     {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}, [[-9, -9, -5, -9, -5, -5]]],
)  # fmt: skip
def test_an_empty_object_is_skipped_and_counted(tmp_path: Path, shape: Any) -> None:
    root = trees.own_instances(tmp_path)
    trees.edit_json(root / "instances.json", lambda d: d["annotations"][0].update(segmentation=shape))
    report = check("coco-instances-folder", root)
    assert report.ok, report.broken
    assert (report.read, report.segments) == (2, 2)
    assert report.notes == ["Skipped objects without a mask: 1, the first being annotation 1 of a.jpg."]


@pytest.mark.parametrize("form", ["flat", "beside empty ones"])
def test_a_polygon_is_drawn_as_pycocotools_draws_it(form: str) -> None:
    expected = rle.decode(rle.merge(rle.frPyObjects([SQUARE], HEIGHT, WIDTH)))
    shape = SQUARE if form == "flat" else [[], SQUARE, [1, 1, 2, 2]]
    assert not is_empty(shape)
    assert np.array_equal(drawn_mask(shape, HEIGHT, WIDTH), expected)


def test_a_list_of_run_lengths_is_one_object(tmp_path: Path) -> None:
    halves = [np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F") for _ in range(2)]
    halves[0][:4, :5] = halves[1][2:9, 3:11] = 1
    packed = [rle.encode(half) for half in halves]
    runs: list[Any] = [{"size": [HEIGHT, WIDTH], "counts": one["counts"].decode()} for one in packed]
    square = rle.decode(rle.frPyObjects([SQUARE], HEIGHT, WIDTH))[..., 0]
    for shape, expected in (
        (runs[:1], halves[0]),
        (runs, halves[0] | halves[1]),
        ([*runs, None, SQUARE], halves[0] | halves[1] | square),
    ):
        assert not is_empty(shape)
        assert np.array_equal(drawn_mask(shape, HEIGHT, WIDTH), expected)
    root = trees.own_instances(tmp_path)
    trees.edit_json(root / "instances.json", lambda d: d["annotations"][0].update(segmentation=runs))
    report = check("coco-instances-folder", root)
    assert report.ok and not report.notes and report.segments == 3


def test_run_lengths_are_read_as_pycocotools_reads_them() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width = (int(side) for side in random.integers(1, 40, 2))
        mask = random.random((height, width)) < random.random()
        mask = mask if random.random() < 0.5 else np.kron(mask, np.ones((3, 5))).astype(bool)
        packed = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
        shape = {"size": list(packed["size"]), "counts": packed["counts"].decode()}
        assert np.array_equal(drawn_mask(shape, *mask.shape), mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segmentation": 7}, "its segmentation is of type int"),
        ({"segmentation": [["a"] * 6]}, "a polygon is not a list of numbers"),
        ({"segmentation": [7, [1, 1, 5, 1, 5, 5]]}, "a polygon is not a list of numbers"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5, 3]]}, "a polygon has 7 numbers"),
        ({"segmentation": [[1, 1, 1e9, 1, 5, 5]]}, "the coordinate 1000000000.0, far outside the 24x16 photo"),
        ({"segmentation": [[1, 1, float("nan"), 1, 5, 5]]}, "the coordinate nan"),
        ({"segmentation": [[1, 1, 10**400, 1, 5, 5]]}, "far outside the 24x16 photo"),
        ({"segmentation": {"counts": [384]}}, "no valid size"),
        ({"segmentation": {"size": [16, 24], "counts": [1, 2]}}, "cover 3 pixels, but the photo has 384"),
        ({"segmentation": {"size": [16, 24], "counts": [-1, 385]}}, "neither non-negative integers"),
        ({"segmentation": {"size": [16, 24], "counts": "\u00e9"}}, "compressed run lengths are damaged"),
        ({"segmentation": {"size": [16, 24], "counts": "0`"}}, "compressed run lengths are truncated"),
        ({"area": -1}, "its area is '-1'"),
        ({"area": "x"}, "its area is 'x'"),
        ({"iscrowd": "x"}, "annotation 1 of a.jpg has iscrowd 'x'; it must be 1 or 0"),
    ],
)
def test_an_invalid_object_is_reported(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    root = trees.own_instances(tmp_path)
    trees.edit_json(root / "instances.json", lambda d: d["annotations"][0].update(change))
    (sentence,) = check("coco-instances-folder", root).broken
    assert "instances.json: annotation 1 of a.jpg" in sentence and message in sentence


def test_an_area_that_is_null_is_counted(tmp_path: Path) -> None:
    root = trees.own_instances(tmp_path)
    trees.edit_json(root / "instances.json", lambda d: d["annotations"][0].update(area=None))
    report = check("coco-instances-folder", root)
    assert report.ok and not report.notes
    folder = open_data_set("coco-instances-folder", root)
    one, _ = folder.load_instances(folder.photos[0]) or ()
    assert one.area == one.mask.sum() == 96


def test_custom_categories_are_not_mistaken_for_cocos(tmp_path: Path) -> None:
    root = trees.coco(tmp_path / "instances")
    own = [{"id": 1, "name": "pallet"}, {"id": 44, "name": "forklift"}]
    trees.edit_json(root / "annotations" / "instances_val2017.json", lambda d: d.update(categories=own))
    for name in ("coco-instances", "coco-panoptic"):
        with pytest.raises(
            DataError, match=r"categories of its own \(1 pallet, 44 forklift\).*coco-instances-folder\."
        ):
            open_data_set(name, root)
    root = trees.coco(tmp_path / "panoptic")
    own = [{**entry, "isthing": int(entry["id"] != 187)} for entry in [*own, {"id": 187, "name": "racking"}]]
    trees.edit_json(root / "annotations" / "panoptic_val2017.json", lambda d: d.update(categories=own))
    with pytest.raises(DataError, match=r"has different category ids from coco-panoptic val \(1 pallet, .*-folder"):
        open_data_set("coco-panoptic", root)


def test_the_data_set_list_and_the_layouts_page_name_own_polygons(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("coco-instances-folder")]
    assert "COCO polygons and your own categories: AP" in line


def test_own_polygons_are_evaluated_in_their_own_classes(
    tmp_path: Path, network: EOVSeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(network, ["person", "sky"], device=torch.device("cpu"), text_weights="untrained")
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)
    root, out = trees.own_instances(tmp_path / "data"), tmp_path / "out"
    trees.edit_json(root / "instances.json", lambda d: d["annotations"][0].update(segmentation=[]))
    assert evaluation.main([str(root), "--dataset", "coco-instances-folder", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["labels"] == ["pallet", "forklift"]
    assert set(report["summary"]) >= {"AP"} and "PQ" not in report["summary"]
    assert "Skipped objects without a mask: 1, the first being annotation 1 of a.jpg." in json.dumps(report)


def test_own_polygons_are_trained_on(tmp_path: Path) -> None:
    root = trees.own_instances(tmp_path)
    chosen = choose_data(root)
    (source,) = chosen.sources
    assert (source.dataset, source.split, source.labels) == ("coco-instances-folder", "all", "instances")
    batches = TrainingBatches(chosen.sources, BatchSettings(batch_size=2, crop_size=32))
    assert [c.names for c in batches.classes.classes] == [("pallet", "skid"), ("forklift",)]
    sample = batches.sources[0].sample(0)
    assert {label.class_index for label in sample.segments.values()} == {0, 1}
    assert batches[0].pixels.shape[0] == 2


def test_commas_separate_the_names_of_a_category_in_training_too(tmp_path: Path) -> None:
    root = trees.own_panoptic(tmp_path)
    source = TrainingSource(root, "panoptic", 1.0)
    classes = TrainingClasses.coco()
    robot = next(category for category in source.open().categories.values() if category.id == 4)
    assert classes.classes[classes.index(robot)].names == ("robot", "android")
    folder = open_data_set("panoptic-folder", root)
    assert {category.name for category in folder.categories.values()} == {"robot", "sky"}


@pytest.mark.parametrize(
    ("text", "ids", "classes"),
    [
        ("7: sky: stuff\n3: robot, android\n", (7, 3), "sky: stuff; robot, android: thing"),
        ("7：sky：stuff\n3：robot，android\n", (7, 3), "sky: stuff; robot, android: thing"),
        ("id,name\n7,sky\n3,robot\n", (7, 3), "sky: stuff; robot: thing"),
        ("name,isthing\npallet,1\nracking,0\n", (0, 1), "pallet: thing; racking: stuff"),
        ("{1: 'pallet', 2: 'forklift'}", (1, 2), "pallet: thing; forklift: thing"),
        ('{\n  "1": "pallet",\n  "2": "forklift"\n}\n', (1, 2), "pallet: thing; forklift: thing"),
        ("['pallet', 'forklift']", (0, 1), "pallet: thing; forklift: thing"),
        ("- pallet\n- forklift", (0, 1), "pallet: thing; forklift: thing"),
        ("sky\nrobot\n", (0, 1), "sky: stuff; robot: thing"),
    ],
)
def test_a_class_list_may_number_the_masks_values(
    tmp_path: Path, text: str, ids: tuple[int, ...], classes: str
) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    table = read_classes(path)
    assert (table.ids, table.vocabulary.to_text()) == (ids, classes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'pallet': 1, 'forklift': 2}", "line 1 has an unmatched bracket"),
        ("{\n1: pallet,\n2: fork(lift\n}", "line 1 has an unmatched bracket"),
        ("{1: 'pallet', 'forklift'}", "line 1 has an unmatched bracket"),
        ("['pallet', '']", "entry 2 must name exactly one class"),
        ("{1: 'pallet', 1: 'forklift'}", "gives two classes the number 1"),
        ("id,name\n1,pallet\n2,", "Line 3 of the class table has no name"),
    ],
)
def test_a_class_list_whose_values_are_unclear_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_classes(path)
