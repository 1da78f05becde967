"""Evaluation reports: CSV, JSON, counts per photo, and a plain text table with the paper's numbers."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.evaluation.average_precision import InstanceReport
from eovseg.evaluation.bootstrap import INTERVAL, RESAMPLES, warning
from eovseg.evaluation.calibration import AbsenceCurve, Reliability, absence_curve, reliability
from eovseg.evaluation.classification import ClassificationReport, accuracy_of_ranks
from eovseg.evaluation.cost import Cost
from eovseg.evaluation.counts import Counts
from eovseg.evaluation.evidence import PhotoEvidence
from eovseg.evaluation.figures import intervals, point_estimates
from eovseg.evaluation.mask_recall import MaskRecall, mask_recall
from eovseg.evaluation.origin import Origin
from eovseg.evaluation.panoptic_quality import PanopticQuality, PanopticReport
from eovseg.evaluation.paper import REPORTED
from eovseg.evaluation.semantic import SemanticReport, semantic_report
from eovseg.evaluation.true_masks import CLASSIFIERS


@dataclass(frozen=True)
class Report:
    """The results of an evaluation; parts that were not requested are None. Fractions are in [0, 1].

    The headline numbers and their intervals are computed from `counts`, the counts per photo. `network` contains the
    model's `fusion` and `vas` (empty in older reports). `origin` identifies the weights, code and command. `evidence`
    contains the verdicts on segments, if requested; it is not saved.
    """

    data: str
    photos: int
    variant: str
    vocabulary: str
    labels: tuple[str, ...]
    is_thing: np.ndarray
    seen: np.ndarray
    settings: Mapping[str, Any]
    network: Mapping[str, Any] = field(default_factory=dict)
    panoptic: PanopticReport | None = None
    semantic: SemanticReport | None = None
    instance: InstanceReport | None = None
    classification: Mapping[str, ClassificationReport] = field(default_factory=dict)
    reliability: Reliability | None = None
    absence: AbsenceCurve | None = None
    masks: Mapping[str, MaskRecall] = field(default_factory=dict)
    cost: Cost | None = None
    notes: tuple[str, ...] = ()
    origin: Origin | None = None
    counts: Counts = field(repr=False, kw_only=True)
    evidence: tuple[PhotoEvidence, ...] | None = field(default=None, repr=False, kw_only=True)

    @classmethod
    def of(cls, counts: Counts, **header: Any) -> "Report":
        """The report with the totals of `counts`; `header` are the fields that cannot be computed from counts."""
        parts: dict[str, Any] = {}
        classes = len(counts.is_thing)
        if counts.has("panoptic"):
            quality = PanopticQuality(counts.is_thing)
            iou_sum, *segments = _totals(counts, "panoptic", classes)
            quality.merge({"iou_sum": iou_sum, "counts": np.array(segments, dtype=np.int64)})
            parts["panoptic"] = quality.compute(counts.seen)
        if counts.has("semantic"):
            right, true, predicted = _totals(counts, "semantic", classes).astype(np.int64)
            parts["semantic"] = semantic_report(right, true, predicted, counts.seen)
        if counts.has("segments"):
            scores, right = counts.rows("segments")[0].T
            parts["reliability"] = reliability(scores, right > 0)
        if counts.has("regions"):
            labels, *ranks = counts.rows("regions")[0].astype(np.int64).T
            parts["classification"] = {
                name: accuracy_of_ranks(rank, labels, counts.seen)
                for name, rank in zip(CLASSIFIERS, ranks, strict=True)
                if len(labels)
            }
        if counts.has("absent"):
            void, absent = counts.rows("absent")[0].T
            parts["absence"] = absence_curve(void, absent > 0)
        if counts.has("masks"):
            parts["masks"] = mask_recall(counts.rows("masks")[0])
        parts |= {"photos": len(counts.photos), "is_thing": counts.is_thing, "seen": counts.seen}
        return cls(**header, **parts, counts=counts)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of the headline numbers computed from counts, with the names and units of `summary`."""
        return intervals(self.counts)

    @cached_property
    def _once(self) -> dict[str, float]:
        return point_estimates(self.counts)

    def summary(self) -> dict[str, float]:
        """The headline numbers by name, scores in percent; NaN if there was nothing to score."""
        rows = dict(self._once)
        if self.absence is not None:
            rows["absent words noticed (ROC area)"] = 100 * self.absence.area
        if self.cost is not None:
            rows["FPS"] = self.cost.frames_per_second
            rows["parameters (M)"] = sum(self.cost.parameters.values()) / 1e6
            rows["FLOPs (G)"] = self.cost.multiply_adds / 1e9
            if self.cost.peak_memory_bytes is not None:
                rows["peak memory (MB)"] = self.cost.peak_memory_bytes / 1e6
        return rows

    def paper(self) -> dict[str, float]:
        """The paper's numbers for this variant and vocabulary, with the names of `summary`; empty if it has none."""
        return REPORTED.get((self.variant, self.vocabulary), {})

    def table(self) -> str:
        """The headline numbers as an aligned plain text table, with 95 % intervals and the paper's numbers, if any."""
        paper, spread = self.paper(), self.intervals
        columns = [("", 0, "<"), ("here", 8, ">")]
        columns += [(INTERVAL, 0, ">")] * bool(spread) + [("paper", 8, ">")] * bool(paper)
        rows = [[title for title, _, _ in columns]]
        for name, value in self.summary().items():
            row = [name, _number(value)]
            row += [_interval(*spread[name]) if name in spread else ""] * bool(spread)
            rows.append(row + [_number(paper[name]) if name in paper else ""] * bool(paper))
        widths = [max(least, *(len(row[place]) for row in rows)) for place, (_, least, _) in enumerate(columns)]
        sides = [side for _, _, side in columns]
        lines = [
            f"{self.variant.upper()} on {self.data}: {self.photos} photos, {len(self.labels)} classes "
            f"({self.vocabulary}), {int(self.seen.sum())} of them seen in training",
            ", ".join(f"{name} {value}" for name, value in self.settings.items()),
            *("  ".join(f"{cell:{s}{w}}" for cell, s, w in zip(row, sides, widths, strict=True)) for row in rows),
            *self.notes,
        ]
        if spread:
            lines.append(f"Intervals: percentile bootstrap over photos around the figure, {RESAMPLES:,} resamples.")
            lines += filter(None, [warning(self.photos)])
        if self.origin:
            lines += self.origin.lines()
        return "\n".join(line.rstrip() for line in lines)

    def per_class(self) -> list[dict[str, Any]]:
        """A row for each class with truth or predictions: its label, kind, whether seen, and its scores in percent."""
        columns: dict[str, np.ndarray] = {}
        if self.panoptic is not None:
            columns |= {"PQ": 100 * self.panoptic.pq, "SQ": 100 * self.panoptic.sq, "RQ": 100 * self.panoptic.rq}
            columns |= {
                "true positives": self.panoptic.true_positives,
                "false positives": self.panoptic.false_positives,
                "false negatives": self.panoptic.false_negatives,
            }
        if self.semantic is not None:
            columns |= {"IoU": 100 * self.semantic.iou, "pixel accuracy": 100 * self.semantic.accuracy}
        if self.instance is not None:
            columns["AP"] = 100 * self.instance.per_class
        rows = []
        for index, label in enumerate(self.labels):
            values = {name: column[index].item() for name, column in columns.items()}
            if any(isinstance(value, float) and math.isfinite(value) for value in values.values()):
                kind = "thing" if self.is_thing[index] else "stuff"
                rows.append({"class": label, "kind": kind, "seen": bool(self.seen[index]), **values})
        return rows

    def to_json(self) -> dict[str, Any]:
        """Everything except counts and evidence as JSON values; NaN becomes null."""
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("counts", "evidence")]
        parts = {name: getattr(self, name) for name in names}
        return plain_values({"summary": self.summary(), "intervals": self.intervals, "paper": self.paper(), **parts})

    def save(self, folder: Path | str) -> list[Path]:
        """Writes summary.csv, per_class.csv, report.json, report.txt and the counts; creates `folder` if needed."""
        folder = Path(folder)
        paper = self.paper()
        summary = []
        for name, value in self.summary().items():
            low, high = self.intervals.get(name, (math.nan, math.nan))
            summary.append({"metric": name, "value": value, "low": low, "high": high, "paper": paper.get(name, "")})
        texts = {
            "summary.csv": csv_text(summary),
            "per_class.csv": csv_text(self.per_class()),
            "report.json": json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            "report.txt": self.table() + "\n",
        }
        for name, text in texts.items():
            write_atomically(folder / name, text)
        paths = [folder / name for name in texts]
        return [*paths, self.counts.save(folder)]


def _totals(counts: Counts, part: str, classes: int) -> np.ndarray:
    """Sums (columns - 1, K) over photos, for a part whose rows start with a class."""
    table, present = counts.per_class(part)
    totals = np.zeros((table.shape[1], classes))
    totals[:, present] = table.sum(axis=0)
    return totals


def _interval(low: float, high: float) -> str:
    return f"[{_number(low)}, {_number(high)}]" if math.isfinite(low) else ""


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "-"


def csv_text(rows: list[dict[str, Any]]) -> str:
    """Rows with equal keys as CSV text; numbers that are not finite are left empty."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()})
    return text.getvalue()


def plain_values(value: Any) -> Any:
    """Dataclasses, arrays and mappings as JSON values; NaN and infinity become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain_values(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return plain_values(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain_values(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
