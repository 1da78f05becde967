"""The third step: composes the segments of a task from the scores of one photo. Runs no network."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eovseg.composition.instance import instances
from eovseg.composition.panoptic import best_first, panoptic
from eovseg.composition.semantic import semantic_argmax
from eovseg.composition.tiles import TiledMasks
from eovseg.images import resized
from eovseg.instance_masks import InstanceMasks
from eovseg.model.classifier import in_and_out_log_probabilities
from eovseg.model.config import ModelConfig
from eovseg.model.values import Logits
from eovseg.segmented import Segment
from eovseg.vocabulary import Vocabulary

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Composed:
    """Segments of one photo, their id map (H, W), the kernel behind each segment, and instance masks."""

    segment_map: np.ndarray
    segments: tuple[Segment, ...]
    queries: tuple[int, ...]
    masks: InstanceMasks | None = None


def shown_score(score: float, calibration: tuple[float, float] | None) -> float:
    """The calibrated score, sigmoid(slope x logit(score) + bias), or the score itself if `calibration` is None.

    Calibration keeps the order of scores, because the slope is positive.
    """
    if calibration is None:
        return score
    slope, bias = calibration
    logit = np.clip(slope * score_logit(score) + bias, -700, 700)  # beyond that, exp overflows
    return float(1 / (1 + np.exp(-logit)))


def score_logit(score: float | np.ndarray) -> Any:
    """log(score / (1 - score)), finite for every score in 0..1; without scipy, whose import delays the first result."""
    score = np.clip(score, 1e-6, 1 - 1e-6)
    return np.log(score / (1 - score))


class Composer:
    """Composes the segments of a task from the class log-probabilities (Q, K+1) of one photo."""

    def __init__(self, vocabulary: Vocabulary, logits: Logits, tiled: TiledMasks, scores: Tensor) -> None:
        self.vocabulary = vocabulary
        self.scores = scores
        self.tiled = tiled
        self.masks, self.geometry = tiled.mask_logits, tiled.geometry
        self.is_thing = torch.from_numpy(np.array(vocabulary.is_thing))
        inside, outside = in_and_out_log_probabilities(logits)
        self.inside, self.outside = inside[0].exp(), outside[0].exp()

    @torch.inference_mode()
    def panoptic(self, rule: ModelConfig, image: np.ndarray) -> Composed:
        """Segments from `panoptic` or `best_first`; `image` (H, W, 3) uint8 is the photo.

        `rule` supplies the composition, thresholds, edges and calibration.
        """
        guide = self._guide(image) if rule.edges else None
        thresholds = (rule.score_threshold, rule.overlap_threshold, rule.void_threshold)
        given = (self.scores, self.tiled, self.is_thing, *thresholds)
        if rule.composition == "released":
            segment_map, records = panoptic(*given, guide=guide)
        else:
            pixels = (rule.mask_threshold, rule.pixel_threshold, rule.large_score_factor)
            segment_map, records = best_first(*given, *pixels, guide=guide)
        ids = segment_map.cpu().numpy()
        extents = _extents(ids, len(records))
        segments = tuple(
            self._segment(r.id, r.class_id, r.query, shown_score(r.score, rule.calibration), *extents[r.id])
            for r in records
        )
        return Composed(ids, segments, tuple(r.query for r in records))

    def _guide(self, image: np.ndarray) -> Tensor:
        """The photo at network input size, (3, height, width) in 0..1."""
        size = self.geometry.input_size
        given = image if image.shape[:2] == size else resized(image, size)
        return torch.from_numpy(np.ascontiguousarray(given)).to(self.masks).permute(2, 0, 1) / 255

    @torch.inference_mode()
    def semantic(self, rule: ModelConfig, word_map: Tensor | None = None) -> Composed:
        """One segment per class that wins a pixel; its kernel is the one with the highest probability of the class.

        `word_map` (K, h, w) are log-probabilities, mixed in with the weight `rule.semantic_word_weight`.
        """
        void = rule.void_threshold
        keep = torch.ones(len(self.scores), dtype=torch.bool, device=self.scores.device)
        if void is not None:
            keep = self.scores.softmax(-1)[:, -1] <= void
        if not bool(keep.any()):
            return Composed(np.zeros(self.geometry.output_size, np.int32), (), ())
        best, _ = semantic_argmax(
            self.scores[keep], self.masks[keep], self.geometry, word_map, rule.semantic_word_weight
        )
        classes, ids = np.unique(best.cpu().numpy(), return_inverse=True)
        ids = (ids.reshape(best.shape) + 1).astype(np.int32)
        extents = _extents(ids, len(classes))
        probabilities = self.scores.softmax(-1)[:, :-1]
        segments = []
        queries = []
        for number, class_id in enumerate(classes.tolist(), start=1):
            query = int((probabilities[:, class_id] * keep).argmax())
            value = float(probabilities[query, class_id])
            segments.append(self._segment(number, class_id, query, value, *extents[number]))
            queries.append(query)
        return Composed(ids, tuple(segments), tuple(queries))

    @torch.inference_mode()
    def instances(self, score: float) -> Composed:
        """Instances of things that score above `score`, best first; better ones cover the others in the map."""
        found = instances(
            self.scores, self.masks, self.is_thing, self.geometry, score_threshold=score, made=self.tiled.instances
        )
        kept = [place for place, crop in enumerate(found.masks.crops) if crop.area]
        masks = found.masks[kept]
        labels, queries, scores = (values[kept].tolist() for values in (found.labels, found.queries, found.scores))
        rows = zip(labels, queries, scores, masks.crops, strict=True)
        segments = tuple(
            self._segment(number, class_id, query, value, crop.area, crop.box)
            for number, (class_id, query, value, crop) in enumerate(rows, start=1)
        )
        return Composed(masks.painted(), segments, tuple(queries), masks)

    def _segment(self, number: int, class_id: int, query: int, score: float, area: int, box: Box) -> Segment:
        return Segment(
            id=number,
            class_id=class_id,
            label=self.vocabulary.labels[class_id],
            is_thing=bool(self.is_thing[class_id]),
            score=float(score),
            in_vocabulary=float(self.inside[query, class_id]),
            out_of_vocabulary=float(self.outside[query, class_id]),
            area=area,
            box=box,
        )


def _extents(ids: np.ndarray, count: int) -> dict[int, tuple[int, Box]]:
    """Area and box of segments 1..count of a map (H, W)."""
    height, width = ids.shape
    size = count + 1
    per_row = np.bincount((ids + size * np.arange(height)[:, None]).ravel(), minlength=height * size).reshape(-1, size)
    per_column = np.bincount((ids + size * np.arange(width)).ravel(), minlength=width * size).reshape(-1, size)
    extents: dict[int, tuple[int, Box]] = {}
    for number in range(1, size):
        y, x = per_row[:, number].nonzero()[0], per_column[:, number].nonzero()[0]
        box = (int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1) if len(x) else (0, 0, 0, 0)
        extents[number] = int(per_row[:, number].sum()), box
    return extents
