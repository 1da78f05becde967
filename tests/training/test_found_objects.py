"""Pseudo-labels with the objects of another model: reading its results, and how masks and stuff are put together."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import DataError
from eovseg.training.found_objects import FoundObject, read_objects, with_objects
from eovseg.training.pseudo_labels import main

SIZE = (120, 160)
PERSON, CAR, ROAD = 1, 3, 149


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def encoded(mask: np.ndarray) -> dict[str, Any]:
    found = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": found["size"], "counts": found["counts"].decode()}


MAN, BUS = box(40, 20, 80, 40), box(30, 10, 100, 140)


def test_objects_lie_above_stuff_and_small_ones_above_large_ones() -> None:
    doubtful, speck = box(0, 140, 60, 160), box(0, 0, 4, 4)
    objects = [
        FoundObject(encoded(MAN), PERSON, 0.9),
        FoundObject(encoded(BUS), CAR, 0.8),
        FoundObject(encoded(box(41, 20, 80, 40)), CAR, 0.7),  # the same object as the first
        FoundObject(encoded(speck), CAR, 0.6),
        FoundObject(encoded(doubtful), CAR, 0.4),
    ]
    ids, categories = with_objects([(box(0, 0, 120, 160), ROAD), (box(0, 0, 9, 9), ROAD)], objects, SIZE, 0.5)
    assert categories == [ROAD, CAR, PERSON], "no doubtful object, no speck, no duplicate and no small region"
    np.testing.assert_array_equal(ids == 3, MAN)
    np.testing.assert_array_equal(ids == 2, BUS & ~MAN)
    np.testing.assert_array_equal(ids == 0, (speck | doubtful) & ~BUS)


def test_results_are_read_by_name_or_by_coco_id(tmp_path: Path) -> None:
    rows = [
        {"image_id": 139, "category_id": 1, "segmentation": encoded(MAN), "score": 0.5},
        {"image_id": 139, "category_id": 3, "segmentation": encoded(BUS), "score": 0.7},
        {"file_name": "a.png", "category_id": 3, "segmentation": encoded(BUS), "score": 0.2},
    ]
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(rows))
    found = read_objects(file)
    assert {name: [(one.category, one.score) for one in objects] for name, objects in found.items()} == {
        "000000000139.jpg": [(3, 0.7), (1, 0.5)],
        "a.png": [(3, 0.2)],
    }
    np.testing.assert_array_equal(found["a.png"][0].mask(), BUS)


@pytest.mark.parametrize(
    "text",
    [
        '{"annotations": []}',
        "[3]",
        '[{"image_id": 1, "category_id": 1, "score": 1, "segmentation": [[1, 2, 3, 4]]}]',
        '[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3, 4]}]',
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "objects.json").write_text(text)
    with pytest.raises(DataError, match=r"objects\.json is not a list of objects with file_name or image_id"):
        read_objects(tmp_path / "objects.json")


def test_the_command_writes_the_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", SIZE[::-1], "grey").save(tmp_path / "photos" / "street.png")
    rows = [{"file_name": "street.png", "category_id": CAR, "segmentation": encoded(BUS), "score": 0.8}]
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(rows))
    common = [str(tmp_path / "photos"), "--objects", str(file), "--output"]
    assert main([*common, str(tmp_path / "out")]) == 0
    folder = PanopticFolder(tmp_path / "out")
    ids, segments = folder.load_segments(folder.photos[0])
    (car,) = (segment for segment in segments if segment.category_id == CAR)
    np.testing.assert_array_equal(ids == car.id, BUS)
    capsys.readouterr()
    faults = [
        ({"segmentation": {"size": SIZE, "counts": ""}}, "The run lengths '' of an object are not a whole mask."),
        ({"segmentation": {"size": SIZE, "counts": "~~"}}, "The run lengths '~~' of an object are not a whole mask."),
        ({"category_id": 12}, "category id 12"),
        ({"segmentation": encoded(np.ones((5, 5), bool))}, "mask has 5×5 pixels, but its photo has 160×120"),
    ]
    for number, (change, message) in enumerate(faults):
        file.write_text(json.dumps([rows[0] | change]))
        assert main([*common, str(tmp_path / f"new{number}")]) == 1
        assert message in capsys.readouterr().err
    assert main([*common, str(tmp_path / "new"), "--object-score", "2"]) == 1
    assert "--object-score is 2.0; give a number from 0 to 1." in capsys.readouterr().err
