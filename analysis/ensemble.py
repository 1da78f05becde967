"""Why a class won a segment: the probabilities of both classifiers and the ensemble's score (Eq. 11)."""

from dataclasses import dataclass

import torch

from eovseg.errors import ConfigError
from eovseg.model.classifier import in_and_out_log_probabilities
from eovseg.model.config import Ensemble
from eovseg.predictor import Predictor
from eovseg.stages import Decoded


@dataclass(frozen=True)
class ClassVote:
    """A class of a kernel: both classifiers' probabilities among the words, the final score, and whether it is seen.

    `weighed` is False if the kernel's mask covers no position of the image encoder's grid; variants that skip such
    masks then ignore `out_of_vocabulary`.
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
    """The `top` classes of kernel `query` by final score; alpha, beta and ensemble default to the model's own."""
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
