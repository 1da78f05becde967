"""What alpha, beta and the kind of ensemble do to one photo, on kept logits: no network runs again (Eq. 11)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from analysis.ablation import SegmentChange, compare_results
from eovseg.errors import ConfigError
from eovseg.evaluation.sweep import TABLE_10
from eovseg.model.classifier import in_and_out_log_probabilities
from eovseg.model.config import Ensemble
from eovseg.predictor import Decoded, Predictor
from eovseg.result import Result


@dataclass(frozen=True, eq=False)
class EnsembleRow:
    """One setting, its result and what changed against the model's own setting (unchanged segments left out)."""

    alpha: float
    beta: float
    ensemble: Ensemble
    result: Result
    changes: tuple[SegmentChange, ...]


@dataclass(frozen=True)
class ClassVote:
    """Why a class: both classifiers' probabilities among the words, the ensemble's score, and if it was seen.

    `weighed` is False where the kernel's mask covers no position of the frozen tower's grid; then
    `out_of_vocabulary` does not count, in the variants that leave such masks out.
    """

    label: str
    seen: bool
    in_vocabulary: float
    out_of_vocabulary: float
    score: float
    weighed: bool = True


def sweep_photo(
    predictor: Predictor,
    decoded: Decoded,
    weights: Sequence[tuple[float, float]] = TABLE_10,
    ensembles: Sequence[Ensemble] = ("geometric", "arithmetic"),
) -> list[EnsembleRow]:
    """Results of a decoded photo for every pair (alpha, beta) and kind of ensemble, Table 10's pairs by default."""
    own = predictor.compose(decoded)
    rows = []
    for ensemble in ensembles:
        for alpha, beta in weights:
            result = predictor.compose(decoded, alpha=alpha, beta=beta, ensemble=ensemble)
            changes = tuple(change for change in compare_results(own, result) if change.change != "same")
            rows.append(EnsembleRow(alpha, beta, ensemble, result, changes))
    return rows


@torch.inference_mode()
def class_votes(
    predictor: Predictor,
    decoded: Decoded,
    query: int,
    top: int = 5,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    ensemble: Ensemble | None = None,
) -> list[ClassVote]:
    """The `top` classes of kernel `query` by final score; None keeps the model's alpha, beta and ensemble."""
    count = predictor.config.queries
    if not 0 <= query < count:
        raise ConfigError(f"query={query} is outside 0 to {count - 1}.")
    inside, outside = (p[0, query].exp() for p in in_and_out_log_probabilities(decoded.logits))
    scores = predictor.log_probabilities(decoded, alpha=alpha, beta=beta, ensemble=ensemble)[query, :-1].exp()
    seen = predictor.seen(decoded.vocabulary)
    labels = decoded.vocabulary.labels
    weighed = bool(decoded.logits.valid_masks[0, query])
    return [
        ClassVote(labels[i], bool(seen[i]), float(inside[i]), float(outside[i]), float(scores[i]), weighed)
        for i in scores.argsort(descending=True)[:top].tolist()
    ]
