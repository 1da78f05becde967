"""Background classes on tiny maps that are easy to check by eye."""

from dataclasses import replace

import numpy as np
import pytest

from eovseg.background import merge_background, with_background
from eovseg.instance_masks import InstanceMasks
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

OWN = Vocabulary.parse("cat, kitten: thing; sky: stuff")
MAP = np.array([[1, 1, 2, 3], [4, 4, 2, 0]], dtype=np.int32)


def segment(number: int, class_id: int, label: str, area: int, score: float = 0.5) -> Segment:
    return Segment(number, class_id, label, True, score, score, score, area, (0, 0, 4, 2))


def wide_result() -> Result:
    wide = with_background(OWN, "dog; Kitten, puss; sea: stuff")
    segments = (
        segment(1, 2, "dog", 2, 0.9), segment(2, 0, "cat", 2), segment(3, 3, "sea", 1, 0.3), segment(4, 1, "sky", 2),
    )  # fmt: skip
    return Result(np.zeros((2, 4, 3), np.uint8), MAP, segments, wide, queries=(7, 5, 3, 1))


def test_classes_that_share_a_name_belong_to_the_words() -> None:
    wide = with_background(OWN, "dog; Kitten, puss; sea: stuff")
    assert wide.labels == ("cat", "sky", "dog", "sea")
    assert with_background(OWN, OWN) == OWN


def test_the_background_becomes_one_segment_at_the_end() -> None:
    merged = merge_background(wide_result(), OWN)
    assert merged.segment_map.tolist() == [[3, 3, 1, 3], [2, 2, 1, 0]]
    assert [(s.id, s.label, s.class_id) for s in merged.segments] == [(1, "cat", 0), (2, "sky", 1), (3, "other", 2)]
    other = merged.segments[-1]
    assert (other.area, other.box, other.is_thing) == (3, (0, 0, 4, 1), False)
    assert other.score == pytest.approx((2 * 0.9 + 0.3) / 3)
    assert merged.queries == (5, 1, -1) and merged.vocabulary.labels == ("cat", "sky", "other")
    assert [s.label for s in merged.background] == ["dog", "sea"]


def test_other_is_not_coloured() -> None:
    merged = merge_background(wide_result(), OWN)
    overlay = np.asarray(merged.overlay(opacity=1.0, labels=False))
    assert not overlay[merged.segment_map == 3].any() and overlay[merged.segment_map == 2].any()


def test_a_background_without_pixels_and_without_words() -> None:
    wide = wide_result()
    own = replace(wide, segments=wide.segments[1::2], queries=())
    merged = merge_background(own, OWN)
    assert [s.label for s in merged.segments] == ["cat", "sky"] and merged.background == ()
    hidden = replace(wide, segments=wide.segments[::2], queries=(7, 3))
    assert [s.label for s in merge_background(hidden, OWN).segments] == ["other"]
    assert merge_background(replace(wide, segments=(), queries=()), OWN).segments == ()


def test_background_instances_are_left_out() -> None:
    wide = wide_result()
    masks = np.stack([number == MAP for number in (1, 2, 3, 4)])
    masks[0] |= masks[1]  # instances overlap
    merged = merge_background(replace(wide, instance_masks=InstanceMasks.of(masks), task="instance"), OWN)
    assert [s.label for s in merged.segments] == ["cat", "sky"] and merged.background == ()
    assert merged.segment_map.tolist() == [[0, 0, 1, 0], [2, 2, 1, 0]]
    assert merged.instance_masks is not None and merged.instance_masks.shape == (2, 2, 4)


def test_the_table_can_be_read_by_spreadsheets() -> None:
    evil = replace(wide_result(), segments=(segment(1, 2, '=cmd "x", y', 2, 0.9),), queries=())
    lines = evil.table_csv().splitlines()
    assert lines[0].startswith("id,name,class,kind,score") and len(lines) == 2
    assert lines[1].startswith('1,"\'=cmd ""x"", y"') and lines[1].endswith(",2,0,0,4,2")
