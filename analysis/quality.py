"""Panoptic quality as tables: which segments matched, and the counts behind each class's PQ."""

from collections.abc import Mapping, Sequence

from eovseg.evaluation.panoptic_quality import Matching, PanopticReport

MATCH_COLUMNS = ("predicted", "true", "IoU", "counts as")
CLASS_COLUMNS = ("class", "TP", "FP", "FN", "SQ", "RQ", "PQ")


def matching_rows(
    matching: Matching, predicted: Mapping[int, str], true: Mapping[int, str]
) -> list[tuple[str, str, str, str]]:
    """A row of `MATCH_COLUMNS` for each match and each unmatched segment; the mappings name the ids of both maps."""
    rows = [(predicted[m.predicted_id], true[m.true_id], f"{m.iou:.2f}", "true positive") for m in matching.matches]
    rows += [(predicted[number], "–", "–", "false positive") for number in matching.false_positives]
    rows += [("–", true[number], "–", "false negative") for number in matching.false_negatives]
    rows += [(predicted[number], "–", "–", "ignored: mostly unlabelled") for number in matching.forgiven]
    return rows


def class_rows(report: PanopticReport, labels: Sequence[str]) -> list[tuple[str, ...]]:
    """A row of `CLASS_COLUMNS` for each class with a non-zero count, scores in percent; the last row is the mean."""
    rows = []
    for index, label in enumerate(labels):
        counts = [int(c[index]) for c in (report.true_positives, report.false_positives, report.false_negatives)]
        if any(counts):
            scores = (report.sq[index], report.rq[index], report.pq[index])
            rows.append((label, *map(str, counts), *(f"{100 * score:.1f}" for score in scores)))
    mean = report.all
    if mean.classes:
        rows.append(("mean", "", "", "", *(f"{100 * score:.1f}" for score in (mean.sq, mean.rq, mean.pq))))
    return rows
