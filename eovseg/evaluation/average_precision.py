"""Mask average precision by pycocotools with COCO's settings (IoU 0.50:0.05:0.95, at most 100 masks per photo)."""

import contextlib
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eovseg.errors import DataError
from eovseg.instance_masks import InstanceMasks


@dataclass(frozen=True)
class InstanceReport:
    """Average precision in [0, 1], NaN if no class has a true instance; `per_class` is (K,).

    `small`, `medium` and `large` are COCO's: up to 32^2, up to 96^2 and more pixels of the stored photo.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    classes: int
    per_class: np.ndarray


class ClassMatches(NamedTuple):
    """Matches of the predicted masks of one class in one photo, for all areas.

    `truths` is the number of true instances without crowds. Each predicted mask has a score and ten bits, one for each
    of COCO's IoU thresholds (0.50 is the lowest bit), in `matched` (true positive) and `missed` (false positive). Both
    bits are 0 if the mask is ignored because of a crowd.
    """

    class_index: int
    truths: int
    scores: list[float]
    matched: list[int]
    missed: list[int]


@dataclass(frozen=True)
class PhotoInstances:
    """COCO annotations (run lengths, class, area, score) of one photo of `height` x `width` pixels."""

    height: int
    width: int
    predicted: list[dict[str, Any]]
    true: list[dict[str, Any]]


class InstanceAveragePrecision:
    """Instance masks of any number of photos, stored as run lengths until `compute` calls pycocotools.

    Only the classes with `is_thing` (K,) bool are scored. Records of several processes are combined by
    `merge(other.state())`.
    """

    def __init__(self, is_thing: np.ndarray) -> None:
        self.is_thing = np.asarray(is_thing, dtype=bool)
        self._photos: list[PhotoInstances] = []
        self._matched: COCOeval | None = None  # cached matches of the photos so far

    def add(
        self,
        masks: np.ndarray | InstanceMasks,
        labels: Sequence[int] | np.ndarray,
        scores: Sequence[float] | np.ndarray,
        true_masks: np.ndarray,
        true_labels: Sequence[int] | np.ndarray,
        crowd: Collection[int] = (),
        true_areas: Sequence[float] | None = None,
    ) -> None:
        """Adds one photo: predicted masks (n, H, W) bool with class index and score, true masks (m, H, W) bool.

        `crowd` lists the indices of the true masks that are crowds. `true_areas` are the areas given by the data set,
        which determine small, medium and large. Raises `DataError` if lengths differ.
        """
        if not (len(masks) == len(labels) == len(scores)) or len(true_masks) != len(true_labels):
            raise DataError("Every instance mask needs a label, and every predicted one a score as well.")
        predicted = [
            _annotation(encoded, int(label)) | {"score": float(score)}
            for encoded, label, score in zip(_run_lengths(masks), labels, scores, strict=True)
        ]
        true = [
            _annotation(encoded, int(label)) | {"iscrowd": int(place in crowd)}
            for place, (encoded, label) in enumerate(zip(_run_lengths(true_masks), true_labels, strict=True))
        ]
        for record, area in zip(true, true_areas or (), strict=bool(true_areas)):
            record["area"] = area
        self.merge([PhotoInstances(masks.shape[1], masks.shape[2], predicted, true)])

    def state(self) -> list[PhotoInstances]:
        """The records so far, for another process."""
        return list(self._photos)

    def merge(self, state: list[PhotoInstances]) -> None:
        """Adds the `state` of another accumulator with the same classes."""
        self._photos.extend(state)
        self._matched = None

    def compute(self) -> InstanceReport:
        """Average precision of all photos so far."""
        things = np.flatnonzero(self.is_thing).tolist()
        per_class = np.full(len(self.is_thing), np.nan)
        has_truth = any(record["category_id"] in things for photo in self._photos for record in photo.true)
        if not has_truth:
            return _report([np.nan] * 6, per_class)
        evaluation = self._evaluated()
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            evaluation.accumulate()
            evaluation.summarize()
        precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class), all areas, 100 masks
        for place, class_index in enumerate(things):
            values = precision[:, :, place]
            if (values > -1).any():
                per_class[class_index] = values[values > -1].mean()
        summary = [float(value) if value > -1 else np.nan for value in evaluation.stats[:6]]
        return _report(summary, per_class)

    def matches(self) -> list[list[ClassMatches]]:
        """pycocotools' matches of each photo, by class; classes with neither truth nor prediction are omitted."""
        found: list[list[ClassMatches]] = [[] for _ in self._photos]
        if not self._photos:
            return found
        evaluation = self._evaluated()
        for entry in filter(None, evaluation.evalImgs):
            if entry["aRng"] != evaluation.params.areaRng[0]:  # the first one is all areas
                continue
            scored = ~np.asarray(entry["dtIgnore"], dtype=bool)  # (threshold, mask)
            matched = np.asarray(entry["dtMatches"]) > 0
            found[entry["image_id"] - 1].append(
                ClassMatches(
                    int(entry["category_id"]),
                    int((np.asarray(entry["gtIgnore"]) == 0).sum()),
                    [short_float(score) for score in entry["dtScores"]],
                    _bits(matched & scored),
                    _bits(~matched & scored),
                )
            )
        return found

    def _evaluated(self) -> COCOeval:
        """pycocotools' matches for all photos, cached because they take most of the time."""
        if self._matched is None:
            with contextlib.redirect_stdout(io.StringIO()):
                self._matched = COCOeval(self._coco("true"), self._coco("predicted"), "segm")
                self._matched.params.catIds = np.flatnonzero(self.is_thing).tolist()
                self._matched.evaluate()
        return self._matched

    def _coco(self, side: Literal["predicted", "true"]) -> COCO:
        """An in-memory COCO data set of the true or the predicted masks."""
        coco = COCO()
        annotations = [
            record | {"image_id": image_id}
            for image_id, photo in enumerate(self._photos, 1)
            for record in getattr(photo, side)
        ]
        coco.dataset = {
            "images": [
                {"id": image_id, "height": photo.height, "width": photo.width}
                for image_id, photo in enumerate(self._photos, 1)
            ],
            "categories": [{"id": class_index} for class_index in np.flatnonzero(self.is_thing).tolist()],
            # pycocotools interprets annotation id 0 as "no match", so ids start at 1.
            "annotations": [record | {"id": number} for number, record in enumerate(annotations, 1)],
        }
        coco.createIndex()
        return coco


def short_float(value: float) -> float:
    """A float32 as the shortest decimal that identifies it, for the file of counts."""
    return float(str(np.float32(value)))


def _bits(flags: np.ndarray) -> list[int]:
    """Flags (bits, n) as n integers; the first row is the lowest bit."""
    return (flags.astype(np.int64) << np.arange(len(flags))[:, None]).sum(axis=0).tolist()


def _report(summary: list[float], per_class: np.ndarray) -> InstanceReport:
    """The report from pycocotools' first six summary numbers."""
    ap, ap50, ap75, small, medium, large = summary
    return InstanceReport(ap, ap50, ap75, small, medium, large, int(np.isfinite(per_class).sum()), per_class)


def _run_lengths(masks: np.ndarray | InstanceMasks) -> Iterator[dict[str, Any]]:
    """COCO's compressed run lengths of each of n masks."""
    if isinstance(masks, InstanceMasks):
        yield from (masks.rle(place) for place in range(len(masks)))
    else:
        yield from (rle.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks)


def _annotation(encoded: dict[str, Any], label: int) -> dict[str, Any]:
    """COCO annotation of one mask's run lengths."""
    return {
        "category_id": label,
        "segmentation": encoded,
        "area": int(rle.area(encoded)),
        "bbox": rle.toBbox(encoded).tolist(),
        "iscrowd": 0,
    }
