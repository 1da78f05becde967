"""Statements with measured error rates: which words are not in the photo, and which may be right for a segment.

Both use thresholds that `python -m eovseg.evaluation.advice` determines on labelled photos for one weight file. They
are stored beside it in a small JSON file. Without thresholds for these weights, no statement is made.

- The evidence for a word is its largest logit over the kernels, both classifiers mixed as in the ensemble. A word is
  "not in this photo" if its evidence is below a threshold; the rate of false alarms is the share of absent words above.
- The words of a segment are those with at least a certain probability among the list: split conformal prediction (Vovk
  et al. 2005) with least ambiguous sets (Sadinle et al. 2019). They include the right word in 90 % of cases.

Thresholds depend on the number of words, so they are measured for several lengths of list, and the nearest is used.
No statements are made for lists longer than those measured, or for unseen words.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eovseg.errors import CheckpointError, ConfigError
from eovseg.model.values import Logits
from eovseg.segmented import Verdict

SUFFIX = ".honesty.json"
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class ListThresholds:
    """Thresholds for lists of `words` words: for the evidence, by rate of false alarms, and for a segment's words."""

    words: int
    evidence: dict[str, float]  # rate as text, such as "0.05"
    probability: float


@dataclass(frozen=True)
class AdviceThresholds:
    """Thresholds for the weights with the SHA-256 `weights`; `limits` are sorted by the length of the list.

    `level` is the share of segments whose words include the right one.
    """

    weights: str
    level: float
    limits: tuple[ListThresholds, ...]

    def of(self, words: int) -> ListThresholds | None:
        """The thresholds for a list of `words` words; None if it is longer than the longest measured list."""
        if not self.limits or words > self.limits[-1].words:
            return None
        return min(self.limits, key=lambda limits: abs(np.log(limits.words / words)))

    def to_json(self) -> dict[str, Any]:
        """JSON values, for `read_thresholds`."""
        return asdict(self)


def read_thresholds(checkpoint: Path, digest: str) -> AdviceThresholds | None:
    """Reads the file beside a checkpoint; None if there is none for weights with this digest.

    Raises `CheckpointError` for an invalid file.
    """
    path = checkpoint.with_suffix(SUFFIX)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["weights"] != digest:
            return None
        limits = tuple(
            ListThresholds(
                int(one["words"]), {str(r): float(t) for r, t in one["evidence"].items()}, float(one["probability"])
            )
            for one in document["limits"]
        )
        return AdviceThresholds(str(document["weights"]), float(document["level"]), limits)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f'The file "{path.name}" beside the weights cannot be read; delete it.') from error


@torch.inference_mode()
def decoded_evidence(logits: Logits, alpha: float) -> np.ndarray:
    """Evidence (K,) for each word of a decoded photo."""
    return word_evidence(
        _numbers(logits.class_logits[-1]),
        _numbers(logits.out_of_vocabulary_logits),
        logits.valid_masks[0].cpu().numpy(),
        alpha,
    )


def word_evidence(inside: np.ndarray, outside: np.ndarray, valid: np.ndarray, weight: float) -> np.ndarray:
    """Evidence (K,) for each word, from logits (Q, K) of both classifiers; `weight` is alpha, used for `valid` (Q,)."""
    weights = weight * valid[:, None]
    return np.asarray(((1 - weights) * inside + weights * outside).max(0))


def verdicts(
    thresholds: AdviceThresholds | None,
    logits: Logits,
    labels: tuple[str, ...],
    seen: np.ndarray,
    alpha: float,
    false_alarms: float = FALSE_ALARMS,
) -> tuple[Verdict, ...]:
    """A verdict for every seen word; none without thresholds.

    Raises `ConfigError` for a rate of false alarms that was not measured.
    """
    limits = thresholds.of(len(labels)) if thresholds else None
    if limits is None:
        return ()
    rates = {float(rate): threshold for rate, threshold in limits.evidence.items()}
    if false_alarms not in rates:
        raise ConfigError(f"false_alarms={false_alarms!r} was not measured; choose {', '.join(map(str, rates))}.")
    there = decoded_evidence(logits, alpha) >= rates[false_alarms]
    return tuple(Verdict(label, bool(there[i])) for i, label in enumerate(labels) if seen[i])


def _numbers(logits: Tensor) -> np.ndarray:
    return np.asarray(logits[0, :, :-1].float().cpu())


def likely_words(probabilities: np.ndarray, limits: ListThresholds) -> list[int]:
    """Indices of the words of a segment, likeliest first, at least one; `probabilities` (K,) are among the list."""
    order = np.argsort(-probabilities, kind="stable")
    return [int(place) for place in order[: max(1, int((probabilities >= limits.probability).sum()))]]


@torch.inference_mode()
def words_of_kernels(
    thresholds: AdviceThresholds | None,
    logits: Logits,
    log_probabilities: Tensor,
    labels: tuple[str, ...],
    seen: np.ndarray,
) -> dict[int, tuple[str, ...]]:
    """For each kernel, the words that include the right one in 90 % of cases; empty without thresholds.

    `log_probabilities` (Q, K+1) are those with the model's own settings, void last.
    """
    limits = thresholds.of(len(labels)) if thresholds else None
    if limits is None or not seen.all():
        return {}
    among = log_probabilities[:, :-1].softmax(-1).float().cpu().numpy()
    return {query: tuple(labels[i] for i in likely_words(row, limits)) for query, row in enumerate(among)}
