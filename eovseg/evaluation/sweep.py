"""Evaluates many settings (alpha, beta, ensemble, composition, thresholds) on stored logits, without the network."""

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eovseg import distributed
from eovseg.errors import ConfigError
from eovseg.evaluation.decoded import DecodedPhoto
from eovseg.evaluation.panoptic_quality import PanopticQuality, PanopticReport
from eovseg.evaluation.paper import TABLE_10
from eovseg.predictor import Predictor
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary

# The values that `search` tries for "best-first", part by part, starting with the parts that matter most.
BEST_FIRST: tuple[tuple[Mapping[str, Any], ...], ...] = (
    tuple({"score_threshold": value} for value in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)),
    tuple({"mask_threshold": value} for value in (0.3, 0.4, 0.5, 0.6, 0.7)),
    tuple({"overlap_threshold": value} for value in (0.4, 0.5, 0.6, 0.7, 0.8)),
    tuple({"pixel_threshold": value} for value in (0.2, 0.3, 0.4, 0.5, 0.6)),
    tuple({"alpha": a, "beta": b} for a, b in ((0.3, 0.3), (0.4, 0.4), (0.4, 0.8), (0.5, 0.5), (0.6, 0.6), (0.7, 0.7))),
    tuple({"void_threshold": value} for value in (0.5, 0.7, 0.9, 1.0)),
    ({"edges": False}, {"edges": True}),
)
ROUNDS = 2


@dataclass(frozen=True)
class SweepRow:
    """One setting and its panoptic quality."""

    settings: Settings
    panoptic: PanopticReport

    def record(self) -> dict[str, Any]:
        """The row of a table: the settings, then PQ, SQ and RQ, and PQ of things and stuff, in percent."""
        report = self.panoptic
        scores = {"PQ": report.all.pq, "SQ": report.all.sq, "RQ": report.all.rq}
        scores |= {"PQ things": report.things.pq, "PQ stuff": report.stuff.pq}
        return self.settings.model_values() | {name: 100 * value for name, value in scores.items()}


def sweep(
    predictor: Predictor, photos: Iterable[DecodedPhoto], vocabulary: Vocabulary, grid: Sequence[Settings]
) -> list[SweepRow]:
    """Panoptic quality of each setting of `grid` on decoded photos, one row per setting, in the grid's order.

    `photos` come from `Evaluator.decode`, which yields one photo at a time (for several sweeps, pass a list of their
    `logits_only()`); `vocabulary` is the evaluator's. The network is not called. Each of several processes evaluates
    its own photos, and all return the rows for all photos.
    """
    if not grid:
        raise ConfigError("The grid of settings is empty.")
    counts = [PanopticQuality(vocabulary.is_thing) for _ in grid]
    for photo in photos:
        decoded = copy.copy(photo.decoded)  # a copy, so that its masks at photo size are freed after each photo
        for settings, quality in zip(grid, counts, strict=True):
            result = predictor.compose(decoded, settings=settings)
            classes = {segment.id: segment.class_id for segment in result.segments}
            truth = photo.truth
            quality.add(result.segment_map, classes, truth.segment_map, truth.classes, truth.crowd)
    states = distributed.gather([quality.state() for quality in counts])

    def rows() -> list[SweepRow]:
        for others in (states or [])[1:]:
            for quality, state in zip(counts, others, strict=True):
                quality.merge(state)
        return [SweepRow(settings, quality.compute()) for settings, quality in zip(grid, counts, strict=True)]

    return distributed.run_on_main(rows)


def search(
    predictor: Predictor,
    photos: Sequence[DecodedPhoto],
    vocabulary: Vocabulary,
    start: Settings,
    parts: Sequence[Sequence[Mapping[str, Any]]] = BEST_FIRST,
) -> list[SweepRow]:
    """Coordinate search: optimises one part of the settings at a time, with the others fixed.

    Trying all combinations of `parts` would take thousands of settings; this search composes each photo about 30 times
    per round and stops after a round without improvement. Returns the rows in the order in which they were tried,
    `start` first; the best one is among them. Other arguments are those of `sweep`.
    """
    best = start
    tried = {row.settings: row for row in sweep(predictor, photos, vocabulary, [start])}
    for _ in range(ROUNDS):
        before = best
        for part in parts:
            grid = [best, *(replace(best, **values) for values in part)]
            new = [settings for settings in dict.fromkeys(grid) if settings not in tried]
            if new:
                tried |= {row.settings: row for row in sweep(predictor, photos, vocabulary, new)}
            best = best_setting([tried[settings] for settings in grid]).settings
        if best == before:
            break
    return list(tried.values())


def best_setting(rows: Sequence[SweepRow]) -> SweepRow:
    """The row with the highest PQ, the first one in a tie.

    Choose on validation photos, never on those that numbers are reported for.
    """
    return max(rows, key=lambda row: row.panoptic.all.pq)


def ensemble_grid(start: Settings) -> list[Settings]:
    """Table 10: seven pairs of alpha and beta, geometric and arithmetic, with the other settings of `start`."""
    return [
        replace(start, alpha=alpha, beta=beta, ensemble=ensemble)
        for ensemble in ("geometric", "arithmetic")
        for alpha, beta in TABLE_10
    ]


def threshold_grid(
    start: Settings,
    score_thresholds: Sequence[float] = (0.0, 0.05, 0.1, 0.2),
    overlap_thresholds: Sequence[float] = (0.3, 0.5, 0.8),
    void_thresholds: Sequence[float | None] | None = None,
    weights: Sequence[tuple[float, float]] = (),
) -> list[Settings]:
    """Every combination of thresholds and `weights`, which are pairs of alpha and beta (default: those of `start`).

    `void_thresholds` defaults to that of `start` and 0.9. None stands for the model's own value, so do not list that
    value as well.
    """
    voids = tuple(dict.fromkeys((start.void_threshold, 0.9))) if void_thresholds is None else void_thresholds
    pairs: Sequence[tuple[float | None, float | None]] = weights or [(start.alpha, start.beta)]
    return [
        replace(start, score_threshold=score, overlap_threshold=overlap, void_threshold=void, alpha=alpha, beta=beta)
        for score, overlap, void, (alpha, beta) in itertools.product(score_thresholds, overlap_thresholds, voids, pairs)
    ]
