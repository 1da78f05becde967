"""Mask recall on masks that can be checked manually: whole rows of a 32 x 32 photo, kernels at stride 4."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eovseg.evaluation.categories import Truth
from eovseg.evaluation.counts import RegionMasks
from eovseg.evaluation.mask_recall import mask_recall, region_masks
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("sky: stuff; cat: thing; dog: thing")
SKY, CAT, DOG = range(3)


def rows(*spans: tuple[int, int, int]) -> np.ndarray:
    """A (32, 32) map with `value` in the rows `start` to `stop`, in groups of four rows, and 0 elsewhere."""
    found = np.zeros((32, 32), dtype=np.int32)
    for value, start, stop in spans:
        found[4 * start : 4 * stop] = value
    return found


def decoded(*spans: tuple[int, int]) -> SimpleNamespace:
    """Kernels whose hard masks are groups of four rows."""
    masks = torch.full((1, len(spans), 8, 8), -9.0)
    for kernel, (start, stop) in enumerate(spans):
        masks[0, kernel, start:stop] = 9.0
    features = SimpleNamespace(padded_size=(32, 32), image_size=(32, 32))
    return SimpleNamespace(logits=SimpleNamespace(mask_logits=(masks,)), state=SimpleNamespace(features=features))


def result(segment_map: np.ndarray, classes: dict[int, int]) -> Result:
    segments = tuple(
        Segment(number, c, WORDS.labels[c], bool(WORDS.is_thing[c]), 0.9, 0.9, 0.9, 1, (0, 0, 1, 1))
        for number, c in classes.items()
    )
    return Result(np.zeros((32, 32, 3), np.uint8), segment_map, segments, WORDS, "panoptic", {}, None)


def measure(
    truth: Truth, kernels: list[tuple[tuple[int, int], int]], segments: np.ndarray, classes: dict[int, int]
) -> list[RegionMasks]:
    """Regions of a photo, from the rows and the name of each kernel, and a result."""
    scores = torch.full((len(kernels), 4), -5.0)
    for kernel, (_, name) in enumerate(kernels):
        scores[kernel, name] = -1.0
    scores[:, 3] = 0.0  # void is likelier than any word, which must not affect names
    photo = decoded(*(span for span, _ in kernels))
    return region_masks(photo, scores, truth, result(segments, classes), WORDS.is_thing)  # type: ignore[arg-type]


def test_kernels_and_segments_with_and_without_the_right_name() -> None:
    truth = Truth(rows((1, 0, 2), (2, 2, 4), (3, 4, 8)), {1: SKY, 2: CAT, 3: DOG}, frozenset())
    kernels = [((0, 2), SKY), ((2, 4), DOG), ((4, 6), DOG)]  # right; a dog on the cat; half of the dog, so IoU 0.5
    found = measure(truth, kernels, rows((5, 0, 2), (6, 4, 8)), {5: CAT, 6: DOG})
    assert found == [
        RegionMasks(0, True, True, True, False),
        RegionMasks(1, True, False, False, False),
        RegionMasks(1, False, False, True, True),
    ]


def test_unlabelled_pixels_do_not_count_and_crowds_are_no_segments() -> None:
    # Rows 4 to 32 are unlabelled, or a crowd; kernel and segment cover them in addition to the cat.
    for rest, crowd, reached in (((0, 1, 8), frozenset(), True), ((2, 1, 8), frozenset({2}), False)):
        truth = Truth(rows((1, 0, 1), rest), {1: CAT, 2: CAT} if crowd else {1: CAT}, crowd)
        assert measure(truth, [((0, 8), CAT)], rows((9, 0, 8)), {9: CAT}) == [RegionMasks(1, *[reached] * 4)]


def test_size_groups() -> None:
    truth = Truth(np.zeros((32, 32), np.int32), {1: SKY, 2: CAT, 3: SKY, 4: DOG, 5: CAT}, frozenset())
    for number, pixels in enumerate((31, 31, 30, 30, 5), 1):  # 3 % of 1,024 pixels are 30.7, 0.5 % are 5.1
        truth.segment_map.ravel()[100 * number : 100 * number + pixels] = number
    assert [row.group for row in measure(truth, [((0, 8), CAT)], rows(), {})] == [0, 1, 3, 2, 3]


def test_shares_of_all_and_of_each_group() -> None:
    table = np.array([(0, 1, 1, 1, 0), (0, 1, 0, 0, 0), (2, 0, 0, 1, 1)])
    recall = mask_recall(table)
    assert (recall["all"].segments, recall["all"].kernel, recall["all"].named_segment) == pytest.approx(
        (3, 2 / 3, 1 / 3)
    )
    assert (recall["stuff over 3 %"].segments, recall["stuff over 3 %"].named_kernel) == (2, 0.5)
    assert recall["things over 3 %"].segments == 0
    assert np.isnan(recall["things over 3 %"].kernel)
