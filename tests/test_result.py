"""Results on disk: documents that COCO's tools can load, and safe file names."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from eovseg.colours import id_to_rgb, rgb_to_id
from eovseg.errors import EovsegError
from eovseg.instance_masks import InstanceMasks
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.stems import clean_stem
from eovseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.parse("person; sky: stuff; zeppelin")


def segment(number: int, class_id: int, area: int, box: tuple[int, int, int, int]) -> Segment:
    entry = VOCABULARY.classes[class_id]
    return Segment(number, class_id, entry.label, entry.is_thing, 0.75, 0.5, 0.25, area, box)


def small_result(shade: int = 10, **changes: object) -> Result:
    """Sky above two persons, and one unlabelled pixel:
    2 2 2 2
    1 1 0 70000
    """
    segment_map = np.array([[2, 2, 2, 2], [1, 1, 0, 70_000]], dtype=np.int32)
    fields: dict[str, object] = {
        "image": np.full((2, 4, 3), shade, dtype=np.uint8),
        "segment_map": segment_map,
        "segments": (
            segment(1, 0, 2, (0, 1, 2, 2)),
            segment(2, 1, 4, (0, 0, 4, 1)),
            segment(70_000, 0, 1, (3, 1, 4, 2)),
        ),
        "vocabulary": VOCABULARY,
        "task": "panoptic",
        "timings": {"image": 0.5},
        "name": "Straße.jpg",
    }
    return Result(**(fields | changes))  # type: ignore[arg-type]


def test_ids_become_colours() -> None:
    ids = np.array([[0, 1, 256, 65_536, 70_000]], dtype=np.int32)
    rgb = id_to_rgb(ids)
    np.testing.assert_array_equal(rgb_to_id(rgb), ids)
    assert rgb.tolist() == [[[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [112, 17, 1]]]


def test_saved_files(tmp_path: Path) -> None:
    paths = small_result().save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == [
        "Straße-overlay.png",
        "Straße-panoptic.png",
        "Straße-panoptic.json",
        "Straße-segments.json",
    ]
    with Image.open(paths[0]) as overlay:
        assert overlay.size == (4, 2)


def test_the_panoptic_pair_round_trips(tmp_path: Path) -> None:
    result = small_result()
    _, png, document_path, _ = result.save(tmp_path)
    document = json.loads(document_path.read_text(encoding="utf-8"))
    colours = np.asarray(Image.open(png).convert("RGB")).astype(np.int64)
    ids = colours @ [1, 256, 256**2]
    np.testing.assert_array_equal(ids, result.segment_map)
    (annotation,) = document["annotations"]
    (image,) = document["images"]
    assert annotation["file_name"] == png.name
    assert annotation["image_id"] == image["id"]
    assert (image["width"], image["height"], image["file_name"]) == (4, 2, "Straße.jpg")
    categories = {category["id"]: category for category in document["categories"]}
    assert [category["name"] for category in categories.values()] == ["person", "sky", "zeppelin"]
    for info in annotation["segments_info"]:
        ys, xs = np.nonzero(ids == info["id"])
        assert info["area"] == len(ys)
        assert info["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert info["iscrowd"] == 0
        assert info["isthing"] == categories[info["category_id"]]["isthing"]
    assert [info["name"] for info in annotation["segments_info"]] == ["person 1", "sky", "person 2"]
    assert set(np.unique(ids)) - {0} == {info["id"] for info in annotation["segments_info"]}


def test_coco_tools_load_the_run_length_masks(tmp_path: Path) -> None:
    result = small_result()
    coco = COCO(str(result.save(tmp_path)[3]))
    assert coco.getCatIds(catNms=["sky"]) == [1]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert len(annotations) == 3
    for annotation in annotations:
        np.testing.assert_array_equal(coco.annToMask(annotation), result.segment_map == annotation["id"])
    loaded = coco.loadRes(
        [{key: a[key] for key in ("image_id", "category_id", "segmentation", "score")} for a in annotations]
    )
    assert [a["area"] for a in loaded.loadAnns(loaded.getAnnIds())] == [2, 4, 1]


def test_instances_may_overlap(tmp_path: Path) -> None:
    masks = np.zeros((2, 2, 4), dtype=bool)
    masks[0, :, :3] = True
    masks[1, :, 1:] = True
    result = small_result(
        task="instance",
        segments=(segment(1, 0, 6, (0, 0, 3, 2)), segment(2, 2, 6, (1, 0, 4, 2))),
        segment_map=np.array([[1, 1, 1, 2]] * 2, dtype=np.int32),
        instance_masks=InstanceMasks.of(masks),
    )
    coco = COCO(str(result.save(tmp_path)[3]))
    for index, annotation in enumerate(coco.loadAnns([1, 2])):
        np.testing.assert_array_equal(coco.annToMask(annotation), masks[index])


def test_to_json_is_plain_json() -> None:
    document = json.loads(json.dumps(small_result().to_json()))
    assert document["task"] == "panoptic"
    assert (document["width"], document["height"]) == (4, 2)
    assert document["unlabelled_fraction"] == 1 / 8
    assert document["segments"][0] == {
        "id": 1,
        "class_id": 0,
        "label": "person",
        "name": "person 1",
        "is_thing": True,
        "score": 0.75,
        "in_vocabulary": 0.5,
        "out_of_vocabulary": 0.25,
        "area": 2,
        "box": [0, 1, 2, 2],
        "words": [],
    }
    assert Vocabulary.parse(document["vocabulary"]) == VOCABULARY


def test_a_result_without_segments(tmp_path: Path) -> None:
    empty = small_result(segments=(), segment_map=np.zeros((2, 4), dtype=np.int32))
    assert np.array_equal(np.asarray(empty.overlay()), empty.image)
    assert COCO(str(empty.save(tmp_path)[3])).getAnnIds() == []


def test_results_of_another_photo_are_never_replaced(tmp_path: Path) -> None:
    first = small_result(shade=10).save(tmp_path, stem="photo")
    before = [path.read_bytes() for path in first]
    second = small_result(shade=11).save(tmp_path, stem="photo")
    third = small_result(shade=12).save(tmp_path, stem="photo")
    assert [paths[0].name for paths in (first, second, third)] == [
        "photo-overlay.png",
        "photo-2-overlay.png",
        "photo-3-overlay.png",
    ]
    assert [path.read_bytes() for path in first] == before
    assert small_result(shade=11).save(tmp_path, stem="photo") == second  # the same photo again


def test_files_of_other_programs_are_kept(tmp_path: Path) -> None:
    (tmp_path / "photo-overlay.png").write_text("mine")
    (tmp_path / "photo-panoptic.json").write_text("[1]")
    assert small_result().save(tmp_path, stem="photo")[0].name == "photo-2-overlay.png"
    assert (tmp_path / "photo-overlay.png").read_text() == "mine"


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("photo", "photo"),
        ("IMG 001 (2)", "IMG 001 (2)"),
        ("Straße 天空", "Straße 天空"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ('a/b\\c:d*e?f<g>h|i"j', "a_b_c_d_e_f_g_h_i_j"),
        ("line\nend\0", "line_end_"),
        (".hidden. ", "hidden"),
        ("", "photo"),
        ("...", "photo"),
        ("CON", "_CON"),
        ("nul.tar", "_nul.tar"),
        ("x" * 300, "x" * 120),
        ("天" * 100, "天" * 40),
    ],
)
def test_stems_are_cleaned(stem: str, expected: str, tmp_path: Path) -> None:
    assert clean_stem(stem) == expected
    for path in small_result().save(tmp_path / "out", stem=stem):
        assert path.parent == tmp_path / "out"
        assert path.exists()


def test_an_unwritable_folder_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EovsegError, match=r"^Results cannot be written to .*file"):
        small_result().save(tmp_path / "file")


def test_inconsistent_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes must match"):
        small_result(segment_map=np.zeros((3, 4), dtype=np.int32))
    with pytest.raises(ValueError, match=r"expected \(3, 2, 4\)"):
        small_result(instance_masks=InstanceMasks.of(np.zeros((1, 2, 4), dtype=bool)))


def test_a_result_is_shown_in_one_line() -> None:
    assert repr(small_result()) == "Result(Straße.jpg, 4 x 2, panoptic, 3 segments: person 1, sky, person 2)"
