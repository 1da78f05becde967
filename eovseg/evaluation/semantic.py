"""Semantic scores: mean IoU and pixel accuracy from pixel counts, like detectron2's SemSegEvaluator.

IoU of a class = right pixels / (true pixels + predicted pixels - right pixels), over labelled pixels only. mIoU is the
mean over the classes with at least one true pixel. So a class that is predicted but never true lowers the IoU of other
classes, but is not included in the mean (mmsegmentation would include it with 0).
"""

from dataclasses import dataclass

import numpy as np

from eovseg.errors import DataError
from eovseg.evaluation.means import class_mean, ratio


@dataclass(frozen=True)
class SemanticReport:
    """Scores in [0, 1], NaN if there is nothing to average; `iou` and `accuracy` (K,) are NaN without true pixels."""

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    classes: int
    seen_miou: float | None
    unseen_miou: float | None
    iou: np.ndarray
    accuracy: np.ndarray


def class_pixels(predicted: np.ndarray, true: np.ndarray, classes: int, ignore_label: int = -1) -> np.ndarray:
    """Numbers of labelled pixels of each class that are right, true and predicted: (3, K).

    Both maps are (H, W) class indices of one photo; predicted -1 = no class, true `ignore_label` = unlabelled. Scores
    are computed from the sum over photos. Raises `DataError` if the sizes differ or an index is outside 0..K-1.
    """
    if predicted.shape != true.shape:
        raise DataError(f"The predicted class map is {predicted.shape}, but the true one is {true.shape}.")
    labelled = true != ignore_label
    true, predicted = true[labelled], predicted[labelled]
    for kind, labels, lowest in (("true", true, 0), ("predicted", predicted, -1)):
        if labels.size and not (lowest <= labels.min() and labels.max() < classes):
            raise DataError(
                f"The {kind} class map contains indices {labels.min()} to {labels.max()}; "
                f"allowed are {lowest} to {classes - 1}."
            )
    chosen = (true[true == predicted], true, predicted[predicted >= 0])
    return np.array([np.bincount(labels, minlength=classes) for labels in chosen])


def class_iou(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """IoU in [0, 1] from pixel counts of the same shape; NaN for classes without true pixels."""
    with np.errstate(invalid="ignore"):
        return np.where(true > 0, right / (true + predicted - right), np.nan)


def semantic_report(
    right: np.ndarray, true: np.ndarray, predicted: np.ndarray, seen: np.ndarray | None = None
) -> SemanticReport:
    """Scores from the pixel counts of each class (K,); `seen` (K,) bool adds the mIoU over seen and unseen classes."""
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
