"""Semantic scores: mean IoU and pixel accuracy from pixel counts, as detectron2's SemSegEvaluator counts them.

IoU of a class = pixels right / (true pixels + predicted pixels - pixels right), over the labelled pixels only; mIoU is
the mean over the classes that have at least one labelled true pixel. A class that is predicted but never true therefore
lowers the IoU of the classes whose pixels it took, and is not a term of its own (mmsegmentation would count it as 0).
"""

from dataclasses import dataclass

import numpy as np

from eovseg.errors import DataError
from eovseg.evaluation.means import class_mean, ratio


@dataclass(frozen=True)
class SemanticReport:
    """Scores in [0, 1]; `iou` and `accuracy` are (K,), NaN for classes without true pixels; NaN means over nothing."""

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    classes: int
    seen_miou: float | None
    unseen_miou: float | None
    iou: np.ndarray
    accuracy: np.ndarray


def class_pixels(predicted: np.ndarray, true: np.ndarray, classes: int, ignore_label: int = -1) -> np.ndarray:
    """Labelled pixels of each of K classes that are right, true and predicted: (3, K), all that the scores depend on.

    Both maps are (H, W) class indices of one photo, predicted -1 = nothing, true `ignore_label` = unlabelled; the
    counts of several photos add up. Raises `DataError` when the sizes differ or an index is outside 0..K-1.
    """
    if predicted.shape != true.shape:
        raise DataError(f"The predicted class map is {predicted.shape} and the true one {true.shape}.")
    labelled = true != ignore_label
    true, predicted = true[labelled], predicted[labelled]
    for kind, labels, lowest in (("true", true, 0), ("predicted", predicted, -1)):
        if labels.size and not (lowest <= labels.min() and labels.max() < classes):
            raise DataError(
                f"The {kind} class map holds indices {labels.min()} to {labels.max()}; "
                f"allowed are {lowest} to {classes - 1}."
            )
    chosen = (true[true == predicted], true, predicted[predicted >= 0])
    return np.array([np.bincount(labels, minlength=classes) for labels in chosen])


def class_iou(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """IoU in [0, 1] from pixel counts of one shape, NaN where a class has no true pixel."""
    with np.errstate(invalid="ignore"):
        return np.where(true > 0, right / (true + predicted - right), np.nan)


def semantic_report(
    right: np.ndarray, true: np.ndarray, predicted: np.ndarray, seen: np.ndarray | None = None
) -> SemanticReport:
    """Scores from the pixels of each class (K,); `seen` (K,) bool adds the mIoU over seen and unseen classes."""
    iou, accuracy = class_iou(right, true, predicted), ratio(right, true)
    return SemanticReport(
        miou=float(class_mean(iou)),
        pixel_accuracy=float(ratio(right.sum(), true.sum())),
        mean_accuracy=float(class_mean(accuracy)),
        classes=int((true > 0).sum()),
        seen_miou=None if seen is None else float(class_mean(iou[np.asarray(seen, dtype=bool)])),
        unseen_miou=None if seen is None else float(class_mean(iou[~np.asarray(seen, dtype=bool)])),
        iou=iou,
        accuracy=accuracy,
    )
