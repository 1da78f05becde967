"""Batches of photos without labels."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from eovseg.data.augment import Augmentation
from eovseg.data.batches import batch_stream
from eovseg.data.unlabelled import UnlabelledBatches, list_photos
from eovseg.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        Image.new("RGB", (40, 30), (80 * i, 40, 200)).save(tmp_path / f"{i}.JPG", "JPEG")
    Image.new("L", (20, 20), 90).save(tmp_path / "grey.png")
    (tmp_path / "notes.txt").write_text("not a photo")
    return tmp_path


def test_lists_image_files_by_name(folder: Path) -> None:
    assert [path.name for path in list_photos(folder)] == ["0.JPG", "1.JPG", "2.JPG", "grey.png"]


def test_batches_depend_on_seed_and_step(folder: Path) -> None:
    batches = UnlabelledBatches(folder, 5, 32, Augmentation(), seed=2)
    assert batches[4].shape == (5, 3, 32, 32)
    assert batches[4].dtype == torch.float32
    assert torch.equal(batches[4], UnlabelledBatches(folder, 5, 32, Augmentation(), seed=2)[4])
    assert not torch.equal(batches[4], batches[5])
    assert all(torch.equal(pixels, batches[step]) for step, pixels in enumerate(batch_stream(batches, range(2), 0)))


def test_folders_without_photos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no photos"):
        list_photos(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        list_photos(tmp_path / "absent")


def test_broken_photo_is_named(folder: Path) -> None:
    for i in range(3):
        (folder / f"{i}.JPG").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(DataError, match=r"\d\.JPG is not a photo that can be read"):
        UnlabelledBatches(folder, 4, 32, Augmentation())[0]
