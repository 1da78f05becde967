"""`eovseg data` as typed in a shell, and evaluation and training on data sets by name."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from eovseg.cli import main
from eovseg.data.batches import BatchSettings, TrainingBatches
from eovseg.data.class_table import ClassTable
from eovseg.data.classes import TrainingClasses
from eovseg.data.data_sets import DATA_SET_NAMES, open_data_set
from eovseg.data.sources import UNLABELLED, VOID, TrainingSource, open_sources
from eovseg.evaluation import __main__ as evaluation
from eovseg.evaluation.command import _data, _vocabulary
from eovseg.evaluation.evaluate import Evaluator
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.vocabulary import Vocabulary
from tests.data import trees


def test_list_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DATA_SET_NAMES)


def test_check_prints_counts_and_returns_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.ade20k(tmp_path)
    assert main(["data", "check", "ade20k", str(root)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ADE20K-150 panoptic, split val: PQ, AP, mIoU\n  found    ")
    assert "2 photos, 2 annotations read, 4 segments, 3 of 150 classes\nNo errors were found.\n" in printed
    assert "split train" not in printed


def test_check_tells_what_is_missing_and_where_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "cityscapes", str(tmp_path), "--split", "train"]) == 1
    printed = capsys.readouterr().out
    assert "leftImg8bit/train (unpack leftImg8bit_trainvaltest.zip)" in printed
    assert printed.endswith("Get it from https://www.cityscapes-dataset.com/downloads/\n")


def test_check_names_the_first_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.pascal_voc(tmp_path)
    mask = root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / f"{trees.VOC_STEMS[1]}.png"
    trees.index_mask(mask, trees.boxes(background=99))
    assert main(["data", "check", "pascal-voc-20", str(root), "--split", "val"]) == 1
    assert f"{mask} has values that are not in the class list: [99]." in capsys.readouterr().out


def test_check_without_a_split_checks_the_available_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (name, tree) in enumerate(
        [
            ("pascal-voc-20", trees.pascal_voc),
            ("pascal-context-59", trees.pascal_context_detectron2),
            ("mask-folder", trees.own_masks),
            ("coco-panoptic", trees.coco),
        ]
    ):
        root = tree(tmp_path / str(number))
        assert main(["data", "check", name, str(root)]) == 0
        assert capsys.readouterr().out.count(", split ") == 1
    names = tmp_path / "0" / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt"
    names.write_text("2012_004331\n")
    assert main(["data", "check", "pascal-voc-20", str(tmp_path / "0")]) == 1
    assert "2012_004331.png is missing" in capsys.readouterr().out


def test_prepare_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.cityscapes_release(tmp_path)
    assert main(["data", "prepare", "cityscapes", str(root), "--split", "val"]) == 0
    assert "cityscapes_panoptic_val.json and 2 PNGs." in capsys.readouterr().out
    assert main(["data", "check", "cityscapes", str(root), "--quick"]) == 0
    assert main(["data", "prepare", "coco-panoptic", str(root)]) == 1
    assert capsys.readouterr().err.startswith(
        "eovseg: COCO panoptic needs no preparation. Check it with `eovseg data check"
    )
    assert main(["data", "prepare", "cityscapes", str(root), "--split", "train"]) == 1
    assert "gtFine/train has no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "tree", "measured", "missing", "classes"),
    [
        ("coco-panoptic", trees.coco, {"PQ", "AP", "mIoU"}, set(), 133),
        ("coco-instances", trees.coco, {"AP"}, {"PQ", "mIoU"}, 133),
        ("pascal-voc-20", trees.pascal_voc, {"mIoU"}, {"PQ", "AP"}, 20),
        ("mask-folder", trees.own_masks, {"mIoU"}, {"PQ", "AP"}, 2),
    ],
)
def test_evaluate_by_name(
    tmp_path: Path, network: EOVSeg, monkeypatch: pytest.MonkeyPatch, name: str, tree: object, measured: set[str],
    missing: set[str], classes: int,
) -> None:  # fmt: skip
    predictor = Predictor(network, ["person", "sky"], device=torch.device("cpu"), text_weights="untrained")
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)
    root, out = tree(tmp_path / "data"), tmp_path / "out"  # type: ignore[operator]
    assert evaluation.main([str(root), "--dataset", name, "--limit", "1", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert set(report["summary"]) >= measured
    assert not set(report["summary"]) & missing
    assert len(report["labels"]) == classes
    assert report["photos"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--dataset", "ade20k", "--split", "test"],
            'ade20k has no split "test"; choose from val, train, training, validation.',
        ),
        (["--dataset", "ade20k", "--images", "x"], "--annotations, --images and --panoptic cannot be combined with"),
        (["--dataset", "ade20k", "--split", "train"], "images/training is missing: unpack ADEChallengeData2016.zip."),
    ],
)
def test_evaluate_refuses_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert evaluation.main([str(trees.ade20k(tmp_path)), *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("tree", [trees.own_panoptic, trees.own_instances, trees.own_masks])
def test_an_own_folder_is_detected_and_uses_its_own_words(
    tmp_path: Path, network: EOVSeg, monkeypatch: pytest.MonkeyPatch, tree: object
) -> None:
    predictor = Predictor(network, ["person"], device=torch.device("cpu"), text_weights="untrained")
    monkeypatch.setattr("eovseg.loading.load", lambda *_: predictor)
    monkeypatch.setattr("eovseg.evaluation.command.is_validation", lambda name: name.startswith("b."))
    root, out = tree(tmp_path / "data"), tmp_path / "out"  # type: ignore[operator]
    for split, count in (([], 2), (["--split", "validation"], 1), (["--split", "training"], 1)):
        assert evaluation.main([str(root), *split, "--out", str(out)]) == 0
        report = json.loads((out / "report.json").read_text())
        assert (len(report["labels"]), report["photos"]) == (2, count)


def test_validation_and_training_are_val_and_train_of_a_divided_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = trees.own_panoptic(tmp_path)
    for name in ("images", "panoptic"):
        (root / name).rename(root / "val")
        (root / name).mkdir()
        (root / "val").rename(root / name / "val")
    (root / "panoptic.json").rename(root / "panoptic_val.json")
    arguments = argparse.Namespace(
        data=root, dataset=None, annotations=None, images=None, panoptic=None, split=None, limit=None
    )
    for split in (None, "val", "validation"):
        arguments.split = split
        assert [photo.file_name for photo in _data(arguments)[1]] == ["a.jpg", "b.jpg"]
    for split, message in (
        ("training", f"{root / 'images' / 'train'} is missing: your photos. The folder has the split val. The format"),
        ("test", 'panoptic-folder has no split "test"; choose from all, val, train, training, validation.'),
    ):
        assert evaluation.main([str(root), "--split", split]) == 1
        assert message in capsys.readouterr().err


def test_all_of_cocos_classes_keep_cocos_synonyms(tmp_path: Path) -> None:
    root = trees.own_panoptic(tmp_path)
    coco = ClassTable.preset("coco-panoptic-133")
    named = {130: "light"}  # COCO's own name of "lamp"
    categories = [
        {"id": one.id, "name": named.get(one.id, one.name), "isthing": int(one.is_thing)}
        for one in coco.categories.values()
    ]
    trees.edit_json(root / "panoptic.json", lambda d: d.update(categories=categories))
    assert _vocabulary(None, open_data_set("panoptic-folder", root)) == coco.vocabulary
    trees.edit_json(root / "panoptic.json", lambda d: d["categories"].pop())
    assert len(_vocabulary(None, open_data_set("panoptic-folder", root))) == 132


def _photos_only(root: Path) -> None:
    trees.photo(root / "images" / "a.jpg")


def _instances_as_panoptic(root: Path) -> None:
    (trees.own_instances(root) / "instances.json").rename(root / "panoptic.json")
    (root / "panoptic").mkdir()


def _panoptic_as_instances(root: Path) -> None:
    (trees.own_panoptic(root) / "panoptic.json").rename(root / "instances.json")


@pytest.mark.parametrize(
    ("make", "name", "found", "by_name"),
    [
        (None, "panoptic-folder", "The folder {} does not exist.", None),
        (Path.touch, "panoptic-folder", "{} is a file; give its folder.", None),
        (Path.mkdir, "mask-folder", "The folder {} is empty.", None),
        (
            _photos_only, "panoptic-folder",
            "{} has photos, but no labels that are recognised: it lacks panoptic.json, instances.json, and classes.txt",
            "{} has photos, but no labels; panoptic-folder needs images, panoptic.json, panoptic.",
        ),
        (
            _instances_as_panoptic, "panoptic-folder",
            "{}/panoptic.json is COCO instances JSON (its annotations have category_id), not COCO panoptic JSON. "
            "Replace it, or rename it to instances.json and use the folder as coco-instances-folder.", None,
        ),
        (
            _panoptic_as_instances, "coco-instances-folder",
            "{}/instances.json is COCO panoptic JSON (its annotations have segments_info), not COCO instances JSON. "
            "Replace it, or rename it to panoptic.json and use the folder as panoptic-folder.", None,
        ),
    ],
)  # fmt: skip
def test_wrong_folders_and_files_get_fitting_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object, name: str, found: str, by_name: str | None
) -> None:
    root = tmp_path / "mine"
    if make:
        make(root)  # type: ignore[operator]
    assert evaluation.main([str(root)]) == 1
    assert capsys.readouterr().err.startswith(found.format(root))
    assert main(["train", "--data", str(root), "--output", str(tmp_path / "run"), "--device", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("eovseg: " + found.format(root))
    assert main(["data", "check", name, str(root)]) == 1
    printed = capsys.readouterr().out
    assert (by_name or found).format(root) in printed and "README" not in printed and "Get it" not in printed
    assert printed.endswith("The format is described in docs/data-sets.md, section Your own data\n")


@pytest.mark.parametrize("name", ["mask-folder", "coco-instances-folder", "coco-panoptic"])
def test_the_name_of_another_format_is_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    root = trees.own_panoptic(tmp_path)
    assert main(["data", "check", name, str(root)]) == 1
    assert main(["evaluate", str(root), "--dataset", name]) == 1
    said = capsys.readouterr()
    expected = f"{root} has the files of panoptic-folder (give this name), not those of {name}."
    assert expected in said.out and expected in said.err


def test_a_split_of_an_undivided_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trees.own_panoptic(tmp_path)), "--split", "val"]) == 1
    assert f"{tmp_path} is not divided into train and val; omit the split." in capsys.readouterr().err


def test_truth_of_ap_and_miou_comes_from_the_data_sets_own_files(tmp_path: Path) -> None:
    folder = open_data_set("coco-panoptic", trees.coco(tmp_path / "coco"))
    assert folder.table is not None
    words = folder.table.vocabulary
    evaluator = Evaluator(folder, words, np.zeros(len(words), dtype=bool))
    truth = evaluator.truth(folder.photos[0])
    assert truth.instances is not None
    assert [(one.category_id, int(one.mask.sum())) for one in truth.instances] == [(0, 128), (0, 16)]
    assert words.labels[truth.class_map()[0, 0]] == "sky"
    folder = open_data_set("ade20k", trees.ade20k(tmp_path / "ade"))
    words = Vocabulary.parse("sky: stuff; person: thing")
    evaluator = Evaluator(folder, words, np.zeros(2, dtype=bool), ignore_unmapped=True)
    expected = np.select([trees.ADE_CLASSES == 3, trees.ADE_CLASSES == 13], [0, 1], -1)
    assert np.array_equal(evaluator.truth(folder.photos[0]).class_map(), expected)


def test_classes_with_the_same_label_are_distinguished_in_their_data_set(tmp_path: Path) -> None:
    """ADE20K-847 has two classes "bag", which only their ids distinguish."""
    folder = open_data_set("ade20k-847", trees.ade20k_full(tmp_path))
    assert folder.table is not None
    words = folder.table.vocabulary
    evaluator = Evaluator(folder, words, np.zeros(len(words), dtype=bool))
    assert [place for place, label in enumerate(words.labels) if label == "bag"] == [
        evaluator.mapping[folder.table.ids[place]] for place, label in enumerate(words.labels) if label == "bag"
    ]
    assert sorted(evaluator.mapping.values()) == list(range(847))


def _source(root: Path, name: str) -> TrainingSource:
    labels = "instances" if name == "coco-instances" else "panoptic"
    return TrainingSource(root, labels, 1.0, dataset=name, split="val")  # type: ignore[arg-type]


def test_training_knows_only_the_data_sets_own_classes(tmp_path: Path) -> None:
    root = trees.cityscapes(tmp_path)
    batches = TrainingBatches([_source(root, "cityscapes")], BatchSettings(batch_size=2, crop_size=32))
    assert [c.names for c in batches.classes.classes] == [c.names for c in Vocabulary.preset("cityscapes-19").classes]
    assert batches.sources[0].known.all()
    # In addition to COCO's words; classes that Cityscapes does not label never compete for its pixels.
    classes = TrainingClasses.coco()
    (source,) = open_sources([_source(root, "cityscapes")], classes)
    known = {classes.classes[i].names[0] for i in np.flatnonzero(source.known)}
    assert known == set(Vocabulary.preset("cityscapes-19").labels)
    sample = source.sample(0)
    assert sample.segment_map[15, 23] == VOID
    assert [label.is_crowd for label in sample.segments.values()].count(True) == 1


def test_training_on_masks_and_on_instances(tmp_path: Path) -> None:
    (source,) = open_sources([_source(trees.pascal_voc(tmp_path / "voc"), "pascal-voc-20")], TrainingClasses.coco())
    sample = source.sample(0)
    assert sample.segment_map[9, 0] == VOID  # the background is unknown, not "none of the twenty"
    assert all(label.is_crowd for label in sample.segments.values() if label.is_thing)
    assert len(source.classes_of(0)) == 2
    (source,) = open_sources([_source(trees.coco(tmp_path / "coco"), "coco-instances")], TrainingClasses.coco())
    sample = source.sample(0)
    assert sample.segment_map[0, 0] == UNLABELLED
    assert {(label.class_index, label.is_crowd) for label in sample.segments.values()} == {(0, True), (0, False)}
    assert source.known.sum() == 133
    assert TrainingBatches([_source(tmp_path / "coco", "coco-instances")], BatchSettings(2, 32))[0].pixels.shape[0] == 2
