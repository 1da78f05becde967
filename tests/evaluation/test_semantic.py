"""Mean IoU compared with manually checked maps, and pixel counts with hotcoco's."""

import numpy as np
import pytest
from hotcoco.semantic import SemanticEval

from eovseg.errors import DataError
from eovseg.evaluation.semantic import class_pixels, semantic_report

CLASSES = 5


def test_a_map_checked_by_hand() -> None:
    true = np.array([[0, 0, 0, 0], [1, 1, -1, -1]])
    predicted = np.array([[0, 0, 0, 1], [1, -1, 2, 2]])  # class 2 only where nothing is labelled
    pixels = class_pixels(predicted, true, 3)
    report = semantic_report(*pixels, seen=np.array([True, False, False]))
    assert report.iou == pytest.approx([3 / 4, 1 / 3, np.nan], nan_ok=True)
    assert report.miou == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert report.pixel_accuracy == pytest.approx(4 / 6)
    assert report.mean_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert (report.seen_miou, report.unseen_miou) == pytest.approx((3 / 4, 1 / 3))
    assert pixels.tolist() == [[3, 1, 0], [4, 2, 0], [3, 2, 0]]
    assert report.classes == 2


def test_a_class_without_true_pixels_is_not_in_the_mean() -> None:
    assert semantic_report(*class_pixels(np.array([[0, 1]]), np.array([[0, 0]]), 2)).miou == 0.5  # not (0.5 + 0) / 2


def test_another_ignore_label_and_nothing_labelled() -> None:
    report = semantic_report(*class_pixels(np.array([[0, 1]]), np.array([[255, 255]]), 2, ignore_label=255))
    assert np.isnan(report.miou)
    assert np.isnan(report.pixel_accuracy)
    assert report.classes == 0


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        ([[0, 1]], [[0]], "class map is"),
        ([[0, 2]], [[0, 1]], "predicted class map contains indices 0 to 2"),
        ([[0, 1]], [[0, -2]], "true class map contains indices -2 to 0"),
    ],
)
def test_wrong_maps_are_refused(predicted: list[list[int]], true: list[list[int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_pixels(np.array(predicted), np.array(true), 2)


def generated_case(random: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random true and predicted class maps with unlabelled pixels, missing classes and empty predictions."""
    classes = random.permutation(CLASSES)[: random.integers(1, CLASSES + 1)]
    photos = []
    for _ in range(random.integers(1, 4)):
        true = random.choice(classes, random.integers(3, 12, 2))
        predicted = np.where(random.random(true.shape) < 0.6, true, random.integers(0, CLASSES, true.shape))
        if random.random() < 0.1:
            predicted = np.full_like(true, -1)
        photos.append((predicted, np.where(random.random(true.shape) < 0.2, -1, true)))
    return photos


def test_equals_hotcoco_on_generated_photos() -> None:
    random = np.random.default_rng(0)
    for _ in range(250):
        photos = generated_case(random)
        pixels, reference = np.zeros((3, CLASSES), dtype=np.int64), SemanticEval(CLASSES + 1, ignore_index=255)
        for predicted, true in photos:
            pixels += class_pixels(predicted, true, CLASSES)
            nothing = np.where(predicted == -1, CLASSES, predicted)
            reference.update(np.where(true == -1, 255, true).astype(np.uint8), nothing.astype(np.uint8))
        theirs = np.asarray(reference.confusion())[:CLASSES, :]
        expected_pixels = [np.diagonal(theirs), theirs.sum(axis=1), theirs[:, :CLASSES].sum(axis=0)]
        np.testing.assert_array_equal(pixels, expected_pixels)
