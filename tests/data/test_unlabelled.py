"""Lists of photos without labels."""

from pathlib import Path

import pytest
from PIL import Image

from eovseg.data.unlabelled import list_photos
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


def test_folders_without_photos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no photos"):
        list_photos(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        list_photos(tmp_path / "absent")
