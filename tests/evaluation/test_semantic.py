"""Mean IoU against hand-checked maps, a slow count and hotcoco's per-class IoU."""

import numpy as np
import pytest
from hotcoco.semantic import SemanticEval

from eovseg.errors import DataError
from eovseg.evaluation.semantic import ConfusionMatrix

CLASSES = 5


def test_map_that_a_person_can_check() -> None:
    matrix = ConfusionMatrix(3)
    true = np.array([[0, 0, 0, 0], [1, 1, -1, -1]])
    predicted = np.array([[0, 0, 0, 1], [1, -1, 2, 2]])  # class 2 only where nothing is labelled
    matrix.add(predicted, true)
    report = matrix.compute(seen=np.array([True, False, False]))
    assert report.iou == pytest.approx([3 / 4, 1 / 3, np.nan], nan_ok=True)
    assert report.miou == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert report.pixel_accuracy == pytest.approx(4 / 6)
    assert report.mean_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert (report.seen_miou, report.unseen_miou) == pytest.approx((3 / 4, 1 / 3))
    assert matrix.counts.tolist() == [[3, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert report.classes == 2


def test_a_class_without_true_pixels_is_no_term_of_the_mean() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([[0, 1]]), np.array([[0, 0]]))
    assert matrix.compute().miou == 0.5  # not (0.5 + 0) / 2


def test_another_ignore_label_and_nothing_labelled() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add(np.array([[0, 1]]), np.array([[255, 255]]), ignore_label=255)
    report = matrix.compute()
    assert np.isnan(report.miou)
    assert np.isnan(report.pixel_accuracy)
    assert report.classes == 0


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        ([[0, 1]], [[0]], "class map is"),
        ([[0, 2]], [[0, 1]], "predicted class map holds indices 0 to 2"),
        ([[0, 1]], [[0, -2]], "true class map holds indices -2 to 0"),
    ],
)
def test_wrong_maps_are_refused(predicted: list[list[int]], true: list[list[int]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ConfusionMatrix(2).add(np.array(predicted), np.array(true))


def generated_case(random: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Some photos of true and predicted class maps, with unlabelled pixels, missing classes and empty predictions."""
    classes = random.permutation(CLASSES)[: random.integers(1, CLASSES + 1)]
    photos = []
    for _ in range(random.integers(1, 4)):
        true = random.choice(classes, random.integers(3, 12, 2))
        predicted = np.where(random.random(true.shape) < 0.6, true, random.integers(0, CLASSES, true.shape))
        if random.random() < 0.1:
            predicted = np.full_like(true, -1)
        photos.append((predicted, np.where(random.random(true.shape) < 0.2, -1, true)))
    return photos


def test_equals_a_slow_count_and_hotcoco_on_generated_photos() -> None:
    random = np.random.default_rng(0)
    for _ in range(250):
        photos = generated_case(random)
        matrix, reference = ConfusionMatrix(CLASSES), SemanticEval(CLASSES + 1, ignore_index=255)
        for predicted, true in photos:
            matrix.add(predicted, true)
            nothing = np.where(predicted == -1, CLASSES, predicted)
            reference.update(np.where(true == -1, 255, true).astype(np.uint8), nothing.astype(np.uint8))
        report = matrix.compute()
        theirs = np.asarray(reference.confusion())
        np.testing.assert_array_equal(matrix.counts, theirs[:CLASSES])

        predicted = np.concatenate([p[t >= 0] for p, t in photos])
        true = np.concatenate([t[t >= 0] for _, t in photos])
        expected = [
            ((predicted == c) & (true == c)).sum() / ((predicted == c) | (true == c)).sum()
            for c in range(CLASSES)
            if (true == c).any()
        ]
        assert report.miou == pytest.approx(np.mean(expected), abs=1e-6)
        assert report.pixel_accuracy == pytest.approx((predicted == true).mean(), abs=1e-6)


def test_merged_processes_equal_one() -> None:
    photos = generated_case(np.random.default_rng(1)) + generated_case(np.random.default_rng(2))
    whole, first, second = (ConfusionMatrix(CLASSES) for _ in range(3))
    for number, photo in enumerate(photos):
        whole.add(*photo)
        (first if number % 2 else second).add(*photo)
    first.merge(second.state())
    np.testing.assert_array_equal(first.counts, whole.counts)
