"""Outlines by Segment Anything: a tiny model that finds what has the colour of the points, and how masks are merged."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from eovseg.data.class_table import Category
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import ConfigError, DataError
from eovseg.training.outlines import Box, SegmentAnything, outlined, read_boxes, stuff_regions, thing_boxes
from eovseg.training.pseudo_labels import main

PERSON, CAR, ROAD = Category(1, "person", True), Category(3, "car", True), Category(149, "road", False)


class Encoder(nn.Module):
    """The red channel at a sixteenth of the size."""

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(image[:, :1], 16)


class Decoder(nn.Module):
    """The cells with the colour of the mean of the points (for a box, of its centre), and inside the box."""

    def forward(self, image_embeddings: Tensor, point_coords: Tensor, point_labels: Tensor, mask_input: Tensor,
                has_mask_input: Tensor, orig_im_size: Tensor) -> tuple[Tensor, Tensor]:  # fmt: skip
        real = (point_labels >= 0).float().unsqueeze(-1)
        middle = (point_coords * real).sum(1) / real.sum(1) / 1024 * 2 - 1
        colour = nn.functional.grid_sample(image_embeddings, middle[:, None, None], mode="nearest", align_corners=False)
        alike = 0.5 - (image_embeddings - colour).abs()
        scale = 0.0 * (mask_input.sum() + has_mask_input.sum() + orig_im_size.sum()) + 4.0
        masks = nn.functional.interpolate(alike, (256, 256), mode="nearest") * scale
        poor = -torch.ones_like(masks)
        return torch.tensor([[0.1, 0.9]]), torch.cat([poor, masks], 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sam")
    inputs = (torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 2), torch.zeros(1, 3), torch.zeros(1, 1, 256, 256),
              torch.zeros(1), torch.zeros(2))  # fmt: skip
    torch.onnx.export(Encoder().eval(), (torch.zeros(1, 3, 1024, 1024),), folder / "encoder.onnx", verbose=False)
    points = {1: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        Decoder().eval(), inputs, folder / "decoder.onnx", output_names=["iou_predictions", "low_res_masks"],
        dynamic_shapes=(None, points, points, None, None, None), verbose=False,
    )  # fmt: skip
    return folder / "encoder.onnx", folder / "decoder.onnx"


@pytest.fixture
def picture() -> np.ndarray:
    """A road, 160 x 120, with one person (20 x 40) and one car (60 x 30)."""
    pixels = np.full((120, 160, 3), 60, np.uint8)
    pixels[40:80, 20:40] = 200
    pixels[70:100, 80:140] = 130
    return pixels


def test_boxes_become_masks_and_stuff_gets_their_edges(files: tuple[Path, Path], picture: np.ndarray) -> None:
    person, car = picture[..., 0] == 200, picture[..., 0] == 130
    rough = np.zeros(person.shape, bool)
    rough[:, :140] = True  # misses the right edge, and covers both objects
    boxes = [
        Box((18, 38, 42, 82), PERSON.id, 0.9),
        Box((80, 70, 140, 100), CAR.id, 0.8),
        Box((20, 40, 40, 80), CAR.id, 0.5),
    ]
    ids, categories = outlined(SegmentAnything(*files), picture, [(rough, ROAD.id)], boxes)
    assert categories == [ROAD.id, CAR.id, PERSON.id], "a second box of the same object adds nothing"
    for number, mask in enumerate((~person & ~car, car, person), start=1):
        found = ids == number
        assert (found & mask).sum() / (found | mask).sum() > 0.9


def test_a_region_keeps_its_outline_if_segment_anything_disagrees(
    files: tuple[Path, Path], picture: np.ndarray
) -> None:
    corner = np.zeros(picture.shape[:2], bool)
    corner[:30, :30] = True
    ids, categories = outlined(SegmentAnything(*files), picture, [(corner, ROAD.id)], [])
    assert categories == [ROAD.id]
    np.testing.assert_array_equal(ids == 1, corner)


def test_segments_give_regions_and_boxes() -> None:
    ids = np.zeros((10, 20), np.int32)
    ids[2:5, 3:9], ids[6:, :] = 1, 2
    (region, category), *others = stuff_regions(ids, [PERSON, ROAD])
    assert (category, others) == (ROAD.id, [])
    np.testing.assert_array_equal(region, ids == 2)
    assert thing_boxes(ids, [PERSON, ROAD]) == [Box((3, 2, 9, 5), PERSON.id, 1.0)]


def test_boxes_are_read_by_name_or_by_coco_id(tmp_path: Path) -> None:
    rows = [
        {"image_id": 139, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 139, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.7},
        {"file_name": "a.png", "category_id": 3, "bbox": [0, 0, 2, 2], "score": 0.2},
    ]
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(rows))
    assert read_boxes(file, 0.3) == {"000000000139.jpg": [Box((1, 2, 4, 6), 3, 0.7), Box((1, 2, 4, 6), 1, 0.5)]}
    file.write_text('{"annotations": []}')
    with pytest.raises(DataError, match="not a list of detections"):
        read_boxes(file, 0.3)


def test_files_that_are_not_segment_anything_are_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no input image_embeddings"):
        SegmentAnything(files[0], files[0])
    (tmp_path / "broken.onnx").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read as ONNX"):
        SegmentAnything(files[0], tmp_path / "broken.onnx")


def test_the_command_writes_outlined_objects(
    files: tuple[Path, Path], picture: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture).save(tmp_path / "photos" / "street.png")
    boxes = [{"file_name": "street.png", "category_id": CAR.id, "bbox": [80, 70, 60, 30], "score": 0.8}]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    common = [str(tmp_path / "photos"), "--output", str(tmp_path / "out"), "--boxes", str(tmp_path / "boxes.json")]
    assert main(common) == 1
    assert "--boxes needs --outlines" in capsys.readouterr().err
    assert main([*common, "--outlines", *map(str, files)]) == 0
    folder = PanopticFolder(tmp_path / "out")
    ids, segments = folder.load_segments(folder.photos[0])
    (car,) = (segment for segment in segments if segment.category_id == CAR.id)
    assert abs(int((ids == car.id).sum()) - 60 * 30) < 100
    boxes[0]["category_id"] = 12
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert main([*common, "--outlines", *map(str, files), "--output", str(tmp_path / "new")]) == 1
    assert "category id 12" in capsys.readouterr().err


def test_without_onnxruntime_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match="onnxruntime"):
        SegmentAnything(Path("a.onnx"), Path("b.onnx"))
