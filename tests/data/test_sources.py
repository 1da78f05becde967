"""The effect of each label kind: classes, merged stuff, crowds, unlabelled and unknown pixels."""

from pathlib import Path

import numpy as np
import pytest

from eovseg.assets import asset_path
from eovseg.data.classes import TrainingClasses
from eovseg.data.panoptic_folder import Category
from eovseg.data.sources import (
    UNLABELLED,
    VOID,
    LabelKind,
    SegmentLabel,
    TrainingSource,
    mark_borders,
    open_sources,
    xs_sources,
)
from eovseg.data.xs_parts import PARTS, part
from eovseg.errors import ConfigError
from tests.data.conftest import FolderWriter

# Ids: 1 person, 2 crowd of persons, 3 sky, 4 clouds (COCO merges them into sky), 5 metal (no COCO class).
IDS = np.array([[3, 3, 4, 4], [1, 1, 0, 0], [2, 2, 5, 5]], dtype=np.int32)
SEGMENTS = {1: (1, False), 2: (1, True), 3: (187, False), 4: (106, False), 5: (900, False)}


@pytest.mark.parametrize(
    ("category", "label"),
    [
        (Category(55, "orange", True), "orange fruit"),
        (Category(5, "Net ", False), "tennis net"),
        (Category(106, "clouds", False), "sky"),
        (Category(110, "desk", False), "table"),
        (Category(1, "person", True), "person"),
    ],
)
def test_coco_names_find_their_class(category: Category, label: str) -> None:
    classes = TrainingClasses.coco()
    assert classes.classes[classes.index(category)].names[0] == label
    assert len(classes) == 133


def test_other_names_become_own_classes_once() -> None:
    classes = TrainingClasses.coco()
    # A synonym of the thing "person" in COCO, but clothes are stuff.
    clothes = classes.index(Category(105, "clothes", False))
    assert clothes == classes.index(Category(7, "clothes", False)) == 133
    assert not classes.classes[clothes].is_thing
    assert classes.index(Category(181, "window", True)) == 134  # a thing, unlike COCO's stuff class "window"


@pytest.mark.parametrize(("kind", "rest"), [("panoptic", VOID), ("instances", UNLABELLED), ("partial", VOID)])
def test_segments_of_a_photo(write_folder: FolderWriter, kind: LabelKind, rest: int) -> None:
    root = write_folder("kinds", {"a": (IDS, SEGMENTS)})
    classes = TrainingClasses.coco()
    (source,) = open_sources([TrainingSource(root, kind, 1.0, border=1)], classes)
    sample = source.sample(0)
    person, sky, metal = 0, classes.index(Category(187, "sky", False)), 133
    assert sample.segment_map.tolist() == [[3, 3, 3, 3], [1, 1, rest, rest], [2, 2, 4, 4]]
    assert sample.segments == {
        1: SegmentLabel(person, True, False),
        2: SegmentLabel(person, True, True),
        3: SegmentLabel(sky, False, False),
        4: SegmentLabel(metal, False, False),
    }
    assert sample.known.tolist() == [True] * 134
    assert source.sample(0) is sample


def test_classes_that_compete(write_folder: FolderWriter) -> None:
    own = write_folder("own", {"a": (IDS, SEGMENTS)})
    plain = write_folder("plain", {"b": (IDS.clip(0, 1), {1: (17, False)})}, [(17, "cat", 1)])
    classes = TrainingClasses.coco()
    first = TrainingSource(own, "panoptic", 1.0, base_classes_compete=False)
    opened = open_sources([first, TrainingSource(plain, "partial", 1.0)], classes)
    known = {classes.classes[i].names[0] for i in np.flatnonzero(opened[0].known)}
    assert known == {"person", "cat", "sky", "metal"}
    assert opened[1].known.tolist() == [True] * 133 + [False]


def test_thing_regions_of_semantic_sources_are_no_targets(write_folder: FolderWriter) -> None:
    root = write_folder("regions", {"a": (IDS, SEGMENTS)}, semantic_only=True)
    (source,) = open_sources([TrainingSource(root, "panoptic", 1.0)], TrainingClasses.coco())
    labels = source.sample(0).segments.values()
    assert {label.is_thing for label in labels if not label.is_crowd} == {False}
    assert sum(label.is_crowd for label in labels) == 2


def test_border_is_a_ring_of_the_given_width() -> None:
    segment_map = np.zeros((7, 7), dtype=np.uint16)
    segment_map[3, 3] = 5
    untouched = segment_map.copy()
    mark_borders(untouched, 0)
    mark_borders(segment_map, 2)
    expected = np.zeros((7, 7), dtype=np.uint16)
    expected[1:6, 1:6] = VOID
    expected[3, 3] = 5
    assert np.array_equal(segment_map, expected)
    assert np.count_nonzero(untouched) == 1


def test_large_photos_are_kept_small(write_folder: FolderWriter) -> None:
    ids = np.ones((30, 90), dtype=np.int32)
    ids[:, 45:] = 2
    root = write_folder("large", {"a": (ids, {1: (1, False), 2: (17, False)})})
    (source,) = open_sources([TrainingSource(root, "panoptic", 1.0)], TrainingClasses.coco(), cache_side=45)
    sample = source.sample(0)
    assert sample.image.shape == (15, 45, 3)
    # The middle pixel's centre is on the border and counts to the right half.
    assert sample.segment_map[0].tolist() == [1] * 22 + [2] * 23


def test_a_source_without_training_photos_is_refused(write_folder: FolderWriter) -> None:
    root = write_folder("twice", {"a": (IDS, SEGMENTS)})
    with pytest.raises(ConfigError, match=r"twice has no photos left"):
        open_sources([TrainingSource(root, "panoptic", 1.0)] * 2, TrainingClasses.coco())


def test_xs_learns_from_the_sources_that_its_card_names(tmp_path: Path) -> None:
    sources = xs_sources(tmp_path)
    card = asset_path("weights/README.md").read_text(encoding="utf-8")
    names = {source.root.name for source in sources}
    assert all(name in card for name in names)
    assert not names & {"camvid", "cityscapes_sample", "ade20k_sample", "ade20k_val", "idd_lite", "lvis_val_subset"}
    assert sum(source.share for source in sources) == pytest.approx(1.0)
    full = sum(source.share for source in sources if source.labels == "panoptic")
    assert 0.4 <= full <= 0.5


def test_xs_trains_on_no_photo_of_the_parts(tmp_path: Path, write_folder: FolderWriter) -> None:
    reserved = {name: min(part(name)) for name in PARTS}
    numbers = {f"{number:012d}": number for number in (7, *reserved.values())}
    photos = dict.fromkeys(numbers, (IDS, SEGMENTS))
    leave_out = xs_sources(tmp_path)[0].leave_out
    own = TrainingSource(write_folder("own", photos), "instances", 1.0, leave_out=leave_out)
    (kept,) = open_sources([own], TrainingClasses.coco())
    assert len(kept.photos) == 3  # photos of other data sets may have the same names
    pseudo = TrainingSource(write_folder("pseudo", photos, coco_ids=numbers), "instances", 1.0, leave_out=leave_out)
    (source,) = open_sources([pseudo], TrainingClasses.coco())
    assert [photo.file_name for photo in source.photos] == ["000000000007.png"]


def test_the_parts_are_disjoint() -> None:
    assert len(part("validation")) >= 80 and len(part("test")) >= 50
    assert not part("validation") & part("test")
