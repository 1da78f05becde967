"""Every layout without defects: files found, counts, and the classes of pixels."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eovseg.data.check import check
from eovseg.data.data_sets import DATA_SET_NAMES, DATA_SETS, open_data_set
from eovseg.errors import ConfigError, DataError
from tests.data import trees

# data set, tree, (photos, segments, classes that occur, classes of the list), labels of some pixels (row, column)
GOOD = [
    ("coco-panoptic", trees.coco, (2, 4, 3, 133), {(0, 0): "sky", (9, 0): "person", (15, 23): None}),
    ("coco-instances", trees.coco, (2, 3, 2, 2), {(9, 0): "person", (0, 0): None}),
    ("ade20k", trees.ade20k, (2, 4, 3, 150), {(0, 0): "sky", (5, 3): "person", (15, 0): None}),
    ("ade20k-847", trees.ade20k_full, (2, 4, 2, 847), {(0, 0): "sky", (9, 0): "adding machine", (15, 0): None}),
    ("pascal-voc-20", trees.pascal_voc, (2, 4, 2, 20), {(0, 0): "aeroplane", (9, 13): "tvmonitor", (9, 0): None}),
    ("pascal-voc-20", trees.pascal_voc_d2, (2, 4, 2, 20), {(0, 0): "aeroplane", (9, 13): "tvmonitor", (9, 0): None}),
    ("pascal-voc-20", trees.pascal_voc_detectron2, (2, 4, 2, 20), {(0, 0): "aeroplane", (9, 13): "tvmonitor"}),
    ("pascal-context-59", trees.pascal_context_59, (2, 4, 2, 59), {(0, 0): "aeroplane", (9, 0): "wood piece"}),
    ("pascal-context-59", trees.pascal_context_detectron2, (2, 4, 2, 59), {(0, 0): "aeroplane", (9, 0): "wood piece"}),
    ("pascal-context-459", trees.pascal_context_459, (2, 6, 3, 459), {(0, 0): "aeroplane", (9, 13): "accordion"}),
    ("cityscapes", trees.cityscapes, (2, 8, 3, 19), {(0, 0): "sky", (9, 0): "person", (9, 11): "car", (15, 23): None}),
    ("mapillary-vistas", trees.mapillary, (2, 4, 2, 65), {(0, 0): "sky", (9, 0): "bird", (9, 13): None}),
    ("mapillary-vistas", trees.mapillary_in_2, (2, 4, 2, 65), {(0, 0): "sky", (9, 0): "bird"}),
    ("mapillary-vistas-2", trees.mapillary_2, (2, 4, 2, 2), {(0, 0): "sky", (9, 0): "bird"}),
    ("panoptic-folder", trees.own_panoptic, (2, 6, 2, 2), {(0, 0): "sky", (9, 0): "robot"}),
    ("coco-instances-folder", trees.own_instances, (2, 3, 2, 2), {(9, 0): "pallet", (0, 20): "forklift", (0, 0): None}),
    ("mask-folder", trees.own_masks, (2, 4, 2, 2), {(0, 0): "sky", (9, 0): None, (9, 13): "robot"}),
]
IDS = [f"{name}-{tree.__name__}" for name, tree, _, _ in GOOD]


@pytest.mark.parametrize(("name", "tree", "counts", "pixels"), GOOD, ids=IDS)
def test_whole_tree(
    tmp_path: Path,
    name: str,
    tree: Callable[[Path], Path],
    counts: tuple[int, int, int, int],
    pixels: dict[tuple[int, int], str | None],
) -> None:
    root = tree(tmp_path)
    report = check(name, root)
    assert report.ok, report.lines()
    assert (report.photos, report.segments, len(report.present), report.classes) == counts
    assert report.read == 2
    assert report.lines()[-1] == "No errors were found."
    folder = open_data_set(name, root)
    assert folder.load_image(folder.photos[0]).shape == (trees.HEIGHT, trees.WIDTH, 3)
    segment_map, segments = folder.load_segments(folder.photos[0])
    assert folder.table is not None
    labels = {0: None} | {
        s.id: folder.table.vocabulary.labels[folder.table.class_index[s.category_id]] for s in segments
    }
    assert {place: labels[int(segment_map[place])] for place in pixels} == pixels


def test_every_data_set_is_covered() -> None:
    assert {name for name, *_ in GOOD} == set(DATA_SET_NAMES)
    assert all(layout.page for layout in DATA_SETS)


@pytest.mark.parametrize(
    ("tree", "inner", "name"),
    [
        (trees.ade20k, "ADEChallengeData2016", "ade20k"),
        (trees.ade20k_full, "ADE20K_2021_17_01", "ade20k-847"),
        (trees.pascal_voc, "VOCdevkit", "pascal-voc-20"),
        (trees.pascal_voc, "VOCdevkit/VOC2012", "pascal-voc-20"),
        (trees.pascal_voc_d2, "pascal_voc_d2", "pascal-voc-20"),
        (trees.pascal_context_59, "pascal_ctx_d2", "pascal-context-59"),
        (trees.mapillary, "mapillary_vistas", "mapillary-vistas"),
    ],
)
def test_root_may_be_the_folder_itself_or_its_parent(
    tmp_path: Path, tree: Callable[[Path], Path], inner: str, name: str
) -> None:
    assert len(open_data_set(name, tree(tmp_path) / inner)) == 2


def test_pngs_unpacked_beside_their_zip_are_found(tmp_path: Path) -> None:
    root = trees.coco(tmp_path)
    (root / "panoptic_val2017").rename(root / "annotations" / "panoptic_val2017")
    assert check("coco-panoptic", root).ok


def test_coco_ap_and_ade20k_miou_have_separate_labels(tmp_path: Path) -> None:
    folder = open_data_set("coco-panoptic", trees.coco(tmp_path / "coco"))
    instances = folder.load_instances(folder.photos[0])
    assert instances is not None
    assert [(one.category_id, one.is_crowd, one.area, int(one.mask.sum())) for one in instances] == [
        (1, False, 120.5, 128),
        (1, True, 16.0, 16),
    ]
    assert np.array_equal(instances[1].mask, trees.SCENE == 3)
    assert folder.load_class_map(folder.photos[0]) is None
    folder = open_data_set("ade20k", trees.ade20k(tmp_path / "ade"))
    class_map = folder.load_class_map(folder.photos[0])
    assert class_map is not None
    assert np.array_equal(class_map, trees.ADE_CLASSES - 1)
    assert folder.load_instances(folder.photos[0]) is None
    assert folder.notes == ()


def test_the_report_tells_if_separate_labels_are_missing(tmp_path: Path) -> None:
    root = trees.coco(tmp_path / "coco")
    (root / "annotations" / "instances_val2017.json").unlink()
    assert check("coco-panoptic", root).ok
    (note,) = open_data_set("coco-panoptic", root).notes
    assert note == "AP is measured on the panoptic segments, because instances_val2017.json is missing."
    root = trees.ade20k(tmp_path / "ade")
    shutil.rmtree(root / "ADEChallengeData2016" / "annotations")
    folder = open_data_set("ade20k", root)
    assert folder.load_class_map(folder.photos[0]) is None
    assert folder.notes[0].startswith("mIoU is measured on the panoptic segments")


def test_photos_without_labels_are_skipped_and_reported(tmp_path: Path) -> None:
    root = trees.own_panoptic(tmp_path)
    trees.edit_json(root / "panoptic.json", lambda d: d["annotations"][1]["segments_info"].clear())
    trees.id_png(root / "panoptic" / "b.png", trees.boxes())
    report = check("panoptic-folder", root)
    assert report.ok
    assert (report.photos, report.notes) == (1, ["Skipped photos without labels: 1, the first being b.jpg."])


def test_masks_without_labels_are_reported(tmp_path: Path) -> None:
    root = trees.own_masks(tmp_path)
    trees.index_mask(root / "masks" / "b.png", trees.boxes(background=255))
    report = check("mask-folder", root)
    assert report.ok
    assert (report.segments, report.notes) == (
        2,
        ["Photos without a labelled pixel: 1, the first being b.png."],
    )


def test_system_files_are_neither_photos_nor_masks(tmp_path: Path) -> None:
    root = trees.own_masks(tmp_path)
    for name in ("images/._a.jpg", "masks/._a.png", "images/__MACOSX/a.jpg", "masks/.ipynb_checkpoints/a.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    (root / "images" / "c.heic").write_bytes(b"")
    folder = open_data_set("mask-folder", root)
    assert [photo.file_name for photo in folder.photos] == ["a.jpg", "b.png"]
    (note,) = check("mask-folder", root).notes
    assert '.heic files: 1 ("c.heic"); hidden files: 1 ("._a.jpg"); hidden folders: 1 ("__MACOSX")' in note
    assert folder.notes == (note,)


def test_a_mask_folder_may_number_its_classes(tmp_path: Path) -> None:
    root = trees.own_masks(tmp_path)
    classes = [{"names": ["sky"], "isthing": False, "dataset_id": 1}, {"names": ["robot"], "dataset_id": 300}]
    trees.write_json(root / "classes.json", {"classes": classes})
    trees.index_mask(root / "masks" / "a.png", trees.boxes(((0, 8, 0, 24), 1), ((8, 16, 0, 12), 300), background=65535))
    folder = open_data_set("mask-folder", root)
    assert [(s.category_id, s.area) for s in folder.load_segments(folder.photos[0])[1]] == [(1, 192), (300, 96)]


def test_splits_of_own_folders(tmp_path: Path) -> None:
    root = trees.own_masks(tmp_path)
    for name in ("images", "masks"):
        (root / name / "train").mkdir()
        for path in (root / name).glob("*.*"):
            path.rename(root / name / "train" / path.name)
    assert len(open_data_set("mask-folder", root, "train")) == 2
    with pytest.raises(DataError, match=r"images.val is missing"):
        open_data_set("mask-folder", root, "val")
    with pytest.raises(ConfigError, match='has no split "test"; choose from all, val, train'):
        open_data_set("mask-folder", root, "test")


def test_unknown_names_and_splits_are_refused() -> None:
    with pytest.raises(ConfigError, match='no data set "coco"; choose from coco-panoptic, '):
        open_data_set("coco", "x")
    with pytest.raises(ConfigError, match='ade20k has no split "all"; choose from val, train'):
        open_data_set("ade20k", "x", "all")


def test_classes_that_are_probably_not_meant_as_listed_are_noted(tmp_path: Path) -> None:
    root = trees.own_masks(tmp_path)
    (root / "classes.txt").write_text("robot: thing\nsky: stuf\nRobot: thing\n")
    kind, twice, things = check("mask-folder", root).notes
    assert '"sky: stuf" was read as a name' in kind
    assert twice == "Classes with the same name, which the model cannot tell apart: robot."
    assert "no masks of things: robot, sky: stuf, Robot." in things


@pytest.mark.parametrize("tree", [trees.own_instances, trees.own_masks])
def test_a_folder_without_any_label_is_an_error(tmp_path: Path, tree: Callable[[Path], Path]) -> None:
    root = tree(tmp_path)
    if tree is trees.own_masks:
        for stem in "ab":
            trees.index_mask(root / "masks" / f"{stem}.png", trees.boxes(background=255))
        name, message = "mask-folder", f"No photo that was read in {root / 'images'} has a labelled pixel."
    else:
        trees.edit_json(root / "instances.json", lambda d: [one.pop("segmentation") for one in d["annotations"]])
        name, message = "coco-instances-folder", "Export polygons or run lengths, not only boxes."
    assert check(name, root).broken[0].endswith(message)
