"""Corrections of results on tiny maps that are easy to check by eye, also with overlapping masks."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from eovseg.background import merge_background
from eovseg.errors import EovsegError
from eovseg.instance_masks import InstanceMasks
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("person; dog; sky: stuff; sea: stuff")
# Persons 1 (in two parts) and 2, sky 3, sea 4.
MAP = np.array([[3, 3, 3, 3, 3], [1, 1, 0, 2, 1], [4, 4, 4, 2, 4]], dtype=np.int32)


def segment(number: int, class_id: int, mask: np.ndarray) -> Segment:
    rows, columns = np.nonzero(mask)
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    entry = WORDS.classes[class_id]
    return Segment(number, class_id, entry.label, entry.is_thing, 0.5, 0.4, 0.3, int(mask.sum()), box)


def photo_of(segment_map: np.ndarray) -> np.ndarray:
    return np.zeros((*segment_map.shape, 3), dtype=np.uint8)


@pytest.fixture
def result() -> Result:
    segments = tuple(segment(n, c, n == MAP) for n, c in ((1, 0), (2, 0), (3, 2), (4, 3)))
    return Result(photo_of(MAP), MAP, segments, WORDS, queries=(7, 8, 9, 10), name="beach.jpg")


@pytest.fixture
def instances() -> Result:
    masks = np.array([[[1, 1, 0, 1]], [[0, 1, 1, 0]]], dtype=bool)
    held = InstanceMasks.of(masks)
    segments = (segment(1, 0, masks[0]), segment(2, 1, masks[1]))
    return Result(photo_of(masks[0]), held.painted(), segments, WORDS, "instance", {}, held, queries=(5, 6))


def consistent(result: Result) -> Result:
    """Asserts that areas, boxes and classes agree with the map, and that every id of the map has a segment."""
    assert len({segment.id for segment in result.segments}) == len(result.segments)
    assert len(result.queries) in (0, len(result.segments))
    for index, one in enumerate(result.segments):
        mask = result.mask(index)
        rows, columns = np.nonzero(mask)
        assert one.area == mask.sum() > 0
        assert one.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        entry = result.vocabulary.classes[one.class_id]
        assert (one.label, one.is_thing) == (entry.label, entry.is_thing)
    assert set(np.unique(result.segment_map)) <= {0, *(one.id for one in result.segments)}
    return result


def test_a_new_name_is_added_to_the_words(result: Result) -> None:
    named = consistent(result.rename(2, "statue"))
    assert named.names == ["person", "statue", "sky", "sea"]
    assert named.vocabulary.labels == (*WORDS.labels, "statue") and named.segments[1].is_thing
    assert (named.segment_map == MAP).all() and named.segments[1].score == 0.5
    assert result.names == ["person 1", "person 2", "sky", "sea"], "the original result does not change"


def test_a_known_name_keeps_its_kind_and_case(result: Result) -> None:
    assert result.rename(2, "DOG").segments[1].label == "dog"
    assert len(result.rename(2, "DOG").vocabulary) == len(WORDS)
    assert not result.rename(3, "fog").segments[2].is_thing
    assert result.rename(3, "kite: thing").segments[2].is_thing


def test_a_region_has_one_segment(result: Result) -> None:
    joined = consistent(result.rename(3, "sea"))
    assert [one.id for one in joined.segments] == [1, 2, 3] and joined.queries == (7, 8, 9)
    assert joined.segments[2].area == 9 and not (joined.segment_map == 4).any()


def test_merging_and_deleting(result: Result) -> None:
    merged = consistent(result.merge(2, 1, 4))
    assert merged.names == ["person", "sky"] and merged.queries == (8, 9)
    assert merged.segments[0].area == 9
    deleted = consistent(result.delete(3))
    assert deleted.names == ["person 1", "person 2", "sea"] and not deleted.segment_map[0].any()


def test_a_part_is_split_off(result: Result) -> None:
    parted = consistent(result.split(1, 4, 1))
    assert parted.names == ["person 1", "person 2", "person 3", "sky", "sea"]
    assert [one.id for one in parted.segments] == [1, 5, 2, 3, 4] and parted.queries == (7, 7, 8, 9, 10)
    assert parted.segment_map[1].tolist() == [1, 1, 0, 2, 5]
    assert consistent(parted.merge(1, 5)).segments == result.segments


def test_pixels_that_touch_at_a_corner_are_one_part() -> None:
    diagonal = np.array([[1, 0], [0, 1]], dtype=np.int32)
    result = Result(photo_of(diagonal), diagonal, (segment(1, 0, diagonal == 1),), WORDS)
    with pytest.raises(EovsegError, match="in one piece"):
        result.split(1, 0, 0)


def test_instances_keep_their_overlap(instances: Result) -> None:
    assert instances.segment_map.tolist() == [[1, 1, 2, 1]]
    deleted = consistent(instances.delete(1))
    assert deleted.segment_map.tolist() == [[0, 2, 2, 0]], "the pixels under the first instance are visible again"
    parted = consistent(instances.split(1, 3, 0))
    assert parted.segment_map.tolist() == [[1, 1, 2, 3]] and parted.names == ["person 1", "person 2", "dog"]
    merged = consistent(instances.merge(2, 1))
    assert merged.segment_map.tolist() == [[2, 2, 2, 2]] and merged.queries == (6,)
    assert consistent(instances.rename(1, "dog")).names == ["dog 1", "dog 2"]


def test_a_semantic_result_has_each_class_once(result: Result) -> None:
    maps = np.array([[1, 2, 2]], dtype=np.int32)
    semantic = Result(
        photo_of(maps), maps, (segment(1, 0, maps == 1), segment(2, 1, maps == 2)), WORDS, "semantic", queries=(1, 2)
    )
    assert consistent(semantic.rename(2, "person")).segment_map.tolist() == [[2, 2, 2]]


def test_other_stays_other_until_it_is_corrected(result: Result) -> None:
    covered = merge_background(result, Vocabulary(WORDS.classes[:2]))
    assert covered.names == ["person 1", "person 2", "other"]
    other = covered.segments[-1].id
    assert covered.rename(1, "dog").background and covered.split(1, 4, 1).background
    assert covered.split(1, 4, 1).names[-1] == "other"
    for touched in (covered.rename(other, "beach"), covered.delete(other), covered.merge(1, other)):
        assert not consistent(touched).background
    parted = consistent(covered.split(other, 0, 0))
    assert parted.background and parted.segments[-1].id == other


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda result: result.rename(9, "dog"), "There is no segment 9; the ids are 1, 2, 3, 4"),
        (lambda result: result.rename(1, "dog; cat"), "one name, but 2 were given"),
        (lambda result: result.rename(1, "  "), "new name of the segment is empty"),
        (lambda result: result.rename(1, 5), "name of the segment as text"),
        (lambda result: result.delete("dog"), "not as str"),
        (lambda result: result.delete(result.segments[0]), "not as Segment"),
        (lambda result: result.split(1, "4", 1), "two integers"),
        (lambda result: result.rename(1, "x" * 300), "at most 200 characters"),
        (lambda result: result.merge(1), "at least one other segment"),
        (lambda result: result.merge(1, 1), "at least one other segment"),
        (lambda result: result.merge(1, 9), "no segment 9"),
        (lambda result: result.delete(0), "no segment 0"),
        (lambda result: result.split(1, 3, 1), r"The pixel \(3, 1\) is not in segment 1"),
        (lambda result: result.split(1, -1, 1), r"The pixel \(-1, 1\) is not in segment 1"),
        (lambda result: result.split(2, 3, 1), "in one piece"),
    ],
)
def test_impossible_corrections_get_one_sentence(result: Result, call: object, reason: str) -> None:
    with pytest.raises(EovsegError, match=reason) as error:
        call(result)  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_corrections_are_listed_and_can_be_repeated(result: Result) -> None:
    put_right = result.split(1, 4, 1).rename(5, 'a "dog"').merge(3, 4).delete(2)
    assert put_right.corrections == ("split(1, 4, 1)", 'rename(5, "a \\"dog\\"")', "merge(3, 4)", "delete(2)")
    assert put_right.to_json()["corrections"] == list(put_right.corrections)
    assert "corrections" not in result.to_json()
    again = result
    for call in put_right.corrections:
        again = eval(f"again.{call}")
    assert again.segments == put_right.segments and (again.segment_map == put_right.segment_map).all()


def test_files_contain_the_corrections(result: Result, tmp_path: Path) -> None:
    paths = result.delete(2).rename(1, "seal").save(tmp_path)
    coco = COCO(next(path for path in paths if path.name.endswith("-segments.json")))
    assert sorted(coco.cats[one["category_id"]]["name"] for one in coco.loadAnns(coco.getAnnIds())) == [
        "sea", "seal", "sky",
    ]  # fmt: skip
    document = json.loads(next(path for path in paths if path.name.endswith("-panoptic.json")).read_text())
    assert [entry["name"] for entry in document["annotations"][0]["segments_info"]] == ["seal", "sky", "sea"]
