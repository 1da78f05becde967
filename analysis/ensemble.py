"""Why a class won a segment: both classifiers' probabilities and what the ensemble makes of them (Eq. 11)."""

from dataclasses import dataclass

import torch

from eovseg.errors import ConfigError
from eovseg.model.classifier import in_and_out_log_probabilities
from eovseg.model.config import Ensemble
from eovseg.predictor import Decoded, Predictor


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
