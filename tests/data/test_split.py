"""The validation split, and exclusion of photos that are in several sources."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eovseg.data.classes import TrainingClasses
from eovseg.data.data_sets import open_data_set
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.data.sources import TrainingSource, open_sources
from eovseg.data.split import is_validation, photo_identities, photo_identity, validation_photos
from eovseg.data.xs_parts import identities, part
from eovseg.errors import ConfigError
from tests.data import trees
from tests.data.conftest import FolderWriter, block_drawing


def test_split_is_fixed_and_near_its_fraction() -> None:
    names = [f"{i:012d}.jpg" for i in range(2000)]
    chosen = [name for name in names if is_validation(name, 0.2)]
    assert chosen[:4] == ["000000000003.jpg", "000000000005.jpg", "000000000011.jpg", "000000000014.jpg"]
    assert 340 < len(chosen) < 460
    assert set(chosen) < {name for name in names if is_validation(name, 0.3)}
    assert not any(is_validation(name, 0.0) for name in names)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match="validation fraction"):
        is_validation("a.jpg", fraction)


def test_no_photo_leaks_through_another_source(write_folder: FolderWriter) -> None:
    names = [f"{i:02d}" for i in range(20)]
    ids = {name: int(name) for name in names}
    renamed = {f"other{name}": int(name) for name in names}
    full = write_folder("full", {name: block_drawing() for name in names}, coco_ids=ids)
    # The same photos with other file names and one more; photo 7 is in the test set.
    again = write_folder("again", {n: block_drawing() for n in [*renamed, "x"]}, coco_ids={**renamed, "x": 99})
    test = write_folder("test", {"t": block_drawing()}, coco_ids={"t": 7})
    validation = {photo.coco_id for photo in validation_photos(PanopticFolder(full), 0.3)}
    assert 0 < len(validation) < 20
    sources = [TrainingSource(full, "panoptic", 1.0, 0.3), TrainingSource(again, "instances", 1.0)]
    opened = open_sources(sources, TrainingClasses.coco(), held_out=[PanopticFolder(test)])
    assert {photo.coco_id for photo in opened[0].photos} == set(ids.values()) - validation - {7}
    assert [photo.coco_id for photo in opened[1].photos] == [99]

    replacing = [sources[0], replace(sources[1], replaces=True)]
    (only,) = open_sources(replacing, TrainingClasses.coco(), held_out=[PanopticFolder(test)])
    kept = {photo.coco_id for photo in only.photos}
    assert only.folder.name == "again" and kept == set(ids.values()) - validation - {7} | {99}


def test_identity_without_coco_id_is_source_and_file(write_folder: FolderWriter) -> None:
    folder = PanopticFolder(write_folder("mine", {"a": block_drawing()}))
    assert photo_identity(folder, folder.photos[0]) == "mine/a.png"
    folder = PanopticFolder(write_folder("dated", {"202401151230": block_drawing()}))
    assert photo_identity(folder, folder.photos[0]) == "dated/202401151230.png", "12 digits are not a COCO id"


def test_only_cocos_own_files_number_photos_as_coco_does(tmp_path: Path) -> None:
    for name in ("coco-panoptic", "coco-instances"):
        folder = open_data_set(name, trees.coco(tmp_path / name))
        assert photo_identities(folder, folder.photos) == {"coco/139", "coco/285"}
    root = trees.own_instances(tmp_path / "own")
    folder = open_data_set("coco-instances-folder", root)
    assert photo_identities(folder, folder.photos) == {"own/a.jpg", "own/b.jpg"}
    trees.edit_json(root / "instances.json", lambda d: d["images"][0].update(coco_id=139))
    folder = open_data_set("coco-instances-folder", root)
    assert photo_identities(folder, folder.photos) == {"coco/139", "own/b.jpg"}


def test_own_photos_numbered_like_the_held_out_ones_are_trained_on(tmp_path: Path) -> None:
    held_out = min(part("test"))
    root = trees.own_instances(tmp_path / "own")

    def renumber(document: dict[str, Any]) -> None:
        document["images"][0]["id"] = held_out
        document["annotations"][0]["image_id"] = document["annotations"][1]["image_id"] = held_out

    trees.edit_json(root / "instances.json", renumber)
    source = TrainingSource(root, "instances", 1.0, dataset="coco-instances-folder", leave_out=identities("test"))
    (opened,) = open_sources([source], TrainingClasses.coco())
    assert [photo.file_name for photo in opened.photos] == ["a.jpg", "b.jpg"]
