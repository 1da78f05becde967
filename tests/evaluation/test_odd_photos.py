"""Unusual photos (grey, 16-bit, rotated, transparent): inference, training and evaluation see the same picture."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eovseg.colours import id_to_rgb
from eovseg.data.check import check
from eovseg.data.label_files import image_size, read_photo, read_rgb
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation.evaluate import evaluate
from eovseg.images import load_image
from eovseg.predictor import Predictor
from eovseg.vocabulary import Vocabulary
from tests.data.trees import panoptic

WORDS = Vocabulary.parse("person: thing; sky, clouds: stuff; lamp: thing; zebra: thing")
HEIGHT, WIDTH = 48, 64


def scene() -> np.ndarray:
    """An asymmetric picture (H, W, 4) uint8; a part of it is transparent with black colour values."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([x * 3, y * 5, (x * y) % 251, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    pixels[8:20, 30:50, :3] = (250, 40, 10)
    pixels[25:, :24] = 0
    return pixels


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def odd_photos() -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """Name, image and options of each file."""
    clear = scene()
    grey = clear[..., 0]
    colour = Image.fromarray(clear[..., :3])
    yield "grey8.png", Image.fromarray(grey), {}
    yield "grey16.png", Image.fromarray(grey * np.uint16(257)), {}
    yield "grey16.tif", Image.fromarray(grey * np.uint16(257)), {}
    yield "float.tif", Image.fromarray(grey / np.float32(255)), {}
    yield "alpha.png", Image.fromarray(clear), {}
    yield "alpha.webp", Image.fromarray(clear), {"lossless": True}
    yield "palette.gif", colour.convert("P"), {"transparency": 3}
    yield "cmyk.jpg", colour.convert("CMYK"), {}
    yield "colour.avif", colour, {}
    for suffix in ("jpg", "png", "webp", "avif", "tif"):
        yield f"turned6.{suffix}", colour, {"exif": exif(6)}
    for orientation in (2, 3, 4, 5, 7, 8):
        yield f"turned{orientation}.jpg", colour, {"exif": exif(orientation)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd") / "images"
    folder.mkdir()
    for name, image, options in odd_photos():
        image.save(folder / name, **options)
    return folder


@pytest.mark.parametrize("name", [name for name, _, _ in odd_photos()])
def test_inference_and_training_read_the_same_picture(photos: Path, name: str) -> None:
    used = load_image(photos / name)
    np.testing.assert_array_equal(read_photo(photos / name), used)
    assert image_size(photos / name) == used.shape[1::-1], "the size must be that of the upright picture"


def test_the_picture_is_what_a_person_sees(photos: Path) -> None:
    eight = read_photo(photos / "grey8.png")
    assert eight.mean() == pytest.approx(scene()[..., 0].mean())
    for name in ("grey16.png", "grey16.tif", "float.tif"):
        np.testing.assert_array_equal(read_photo(photos / name), eight, err_msg=name)
    Image.new("LA", (4, 4), (0, 0)).save(photos.parent / "clear.png")
    assert (read_photo(photos.parent / "clear.png") == 255).all(), "transparent pixels are white"


def write_labels(predictor: Predictor, root: Path) -> None:
    """Writes a panoptic folder whose labels are the predictor's own results on the files in `root`/images."""
    document: dict[str, Any] = {"images": [], "annotations": []}
    (root / "panoptic").mkdir()
    for number, path in enumerate(sorted((root / "images").iterdir()), 1):
        result = predictor(path, WORDS)
        assert result.segments, path.name
        one = result.panoptic_json(f"{path.name}.png")
        Image.fromarray(id_to_rgb(result.segment_map)).save(root / "panoptic" / f"{path.name}.png")
        document["images"].append({**one["images"][0], "id": number, "file_name": path.name})
        document["annotations"].append({**one["annotations"][0], "image_id": number})
        document["categories"] = one["categories"]
    (root / "panoptic.json").write_text(json.dumps(document))


def test_the_predictors_own_results_get_a_pq_of_100(
    predictor: Predictor, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labels(predictor, photos.parent)
    folder = PanopticFolder(photos.parent)

    def quality() -> float:
        report = evaluate(predictor, folder, folder.photos, WORDS, ["panoptic"])
        return float(report.summary()["PQ"])

    assert quality() == 100
    assert check("panoptic-folder", photos.parent).ok
    # As a control, the same labels do not match the pixels without rotation.
    monkeypatch.setattr("eovseg.data.labelled_folder.read_photo", upright_as_stored(photos))
    assert quality() < 99


def upright_as_stored(photos: Path) -> Callable[[Path], np.ndarray]:
    """A function that reads photos and ignores the EXIF orientation if that does not change the size."""

    def read(path: Path) -> np.ndarray:
        stored = read_rgb(path)
        return stored if stored.shape == load_image(path).shape else load_image(path)

    return read


@pytest.mark.parametrize("labels", ["stored view in the JSON", "index mask"])
def test_labels_that_differ_by_a_rotation_are_reported(tmp_path: Path, labels: str) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(scene()[..., :3]).save(tmp_path / "images" / "a.jpg", exif=exif(6))
    drawn = np.ones((HEIGHT, WIDTH), np.uint8)  # the stored orientation; the upright photo is 48 x 64
    if labels == "index mask":
        (tmp_path / "masks").mkdir()
        Image.fromarray(drawn).save(tmp_path / "masks" / "a.png")
        (tmp_path / "classes.txt").write_text("person: thing\nsky: stuff\n")
        report, said = check("mask-folder", tmp_path), "a.png is 64x48 pixels, but its photo is 48x64"
    else:
        photos = {"a.png": (1, "a.jpg", drawn, {1: (1, 0)})}
        panoptic(tmp_path / "panoptic.json", tmp_path / "panoptic", [(1, "sky", 0)], photos)
        report, said = check("panoptic-folder", tmp_path), "a.jpg is 48x64 pixels, but its data set says 64x48"
    (sentence,) = report.broken
    assert said in sentence and "Width and height are swapped" in sentence
