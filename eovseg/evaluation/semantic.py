"""Semantic scores: mean IoU and pixel accuracy from a confusion matrix, as detectron2's SemSegEvaluator counts them.

IoU of a class = pixels right / (true pixels + predicted pixels - pixels right), over the labelled pixels only; mIoU is
the mean over the classes that have at least one labelled true pixel. A class that is predicted but never true therefore
lowers the IoU of the classes whose pixels it took, and is not a term of its own (mmsegmentation would count it as 0).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from eovseg.errors import DataError


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


class ConfusionMatrix:
    """Labelled pixels by true and predicted class over any number of photos; `classes` is K.

    `counts` is (K, K + 1): true class by predicted class, the last column being "nothing predicted". Those of several
    processes are joined with `merge(other.state())`.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = np.zeros((classes, classes + 1), dtype=np.int64)

    def add(self, predicted: np.ndarray, true: np.ndarray, ignore_label: int = -1) -> None:
        """Count one photo: (H, W) class indices, predicted -1 = nothing, true `ignore_label` = unlabelled.

        Raises `DataError` when the sizes differ or a class index is outside 0..K-1.
        """
        if predicted.shape != true.shape:
            raise DataError(f"The predicted class map is {predicted.shape} and the true one {true.shape}.")
        labelled = true != ignore_label
        true_labels = true[labelled].astype(np.int64)
        predicted_labels = predicted[labelled].astype(np.int64)
        for kind, labels, lowest in (("true", true_labels, 0), ("predicted", predicted_labels, -1)):
            if labels.size and not (lowest <= labels.min() and labels.max() < self.classes):
                raise DataError(
                    f"The {kind} class map holds indices {labels.min()} to {labels.max()}; "
                    f"allowed are {lowest} to {self.classes - 1}."
                )
        predicted_labels[predicted_labels == -1] = self.classes
        joint = true_labels * (self.classes + 1) + predicted_labels
        self.counts += np.bincount(joint, minlength=self.counts.size).reshape(self.counts.shape)

    def state(self) -> dict[str, np.ndarray]:
        """The counts so far, to send to another process."""
        return {"counts": self.counts.copy()}

    def merge(self, state: Mapping[str, np.ndarray]) -> None:
        """Add the counts that another accumulator of the same classes gave with `state`."""
        self.counts += state["counts"]

    def pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of each class that are right, true and predicted, each (K,): all that the scores depend on."""
        return np.diagonal(self.counts), self.counts.sum(axis=1), self.counts[:, :-1].sum(axis=0)

    def compute(self, seen: np.ndarray | None = None) -> SemanticReport:
        """Scores of everything added so far; `seen` as in `semantic_report`."""
        return semantic_report(*self.pixels(), seen)


def class_iou(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """IoU in [0, 1] from pixel counts of one shape, NaN where a class has no true pixel."""
    with np.errstate(invalid="ignore"):
        return np.where(true > 0, right / (true + predicted - right), np.nan)


def semantic_report(
    right: np.ndarray, true: np.ndarray, predicted: np.ndarray, seen: np.ndarray | None = None
) -> SemanticReport:
    """Scores from the pixels of each class (K,); `seen` (K,) bool adds the mIoU over seen and unseen classes."""
    present = true > 0
    iou = class_iou(right, true, predicted)
    with np.errstate(invalid="ignore"):
        accuracy = right / true

    def mean(values: np.ndarray, chosen: np.ndarray) -> float:
        rows = present & chosen
        return float(values[rows].mean()) if rows.any() else np.nan

    every = np.ones(len(present), dtype=bool)
    return SemanticReport(
        miou=mean(iou, every),
        pixel_accuracy=float(right.sum() / true.sum()) if present.any() else np.nan,
        mean_accuracy=mean(accuracy, every),
        classes=int(present.sum()),
        seen_miou=None if seen is None else mean(iou, np.asarray(seen, dtype=bool)),
        unseen_miou=None if seen is None else mean(iou, ~np.asarray(seen, dtype=bool)),
        iou=iou,
        accuracy=accuracy,
    )
