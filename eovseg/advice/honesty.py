"""Honest answers: words that are not in the photo, and for a segment the words among which the right one is.

Both rest on thresholds that `python -m eovseg.evaluation.advice` finds on labelled photos for one file of weights, and
that lie beside it in a small JSON. Without that file, or for another, nothing is claimed.

- A word's evidence is the largest of its kernels' logits, both classifiers' mixed as the ensemble mixes them. It
  is "not in this photo" below a threshold that only a chosen share of absent words reaches, the false alarms.
- A segment's words are those with at least a certain probability among the list: split conformal prediction (Vovk et
  al. 2005) with the least ambiguous sets (Sadinle et al. 2019), so that the right word is among them in 90 % of cases.

Thresholds depend on how many words compete, so there is one for each length of list that was measured; in between the
nearest one holds. Lists that are longer than the longest, and words that training never saw, were not measured: they
get no answer.
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
class Limits:
    """Thresholds for lists of `words` words: of evidence by rate of false alarms, and of a segment's probabilities."""

    words: int
    evidence: dict[str, float]  # rate as text, such as "0.05"
    probability: float


@dataclass(frozen=True)
class Honesty:
    """What was measured for the weights of the SHA-256 `weights`; `limits` by rising length of the list.

    `level` is the share of segments whose words hold the right one.
    """

    weights: str
    level: float
    limits: tuple[Limits, ...]

    def of(self, words: int) -> Limits | None:
        """The thresholds for a list of so many words; None beyond the longest that was measured."""
        if not self.limits or words > self.limits[-1].words:
            return None
        return min(self.limits, key=lambda limits: abs(np.log(limits.words / words)))

    def to_json(self) -> dict[str, Any]:
        """Plain values; `read_honesty` reads them back."""
        return asdict(self)


def read_honesty(checkpoint: Path, digest: str) -> Honesty | None:
    """The file beside a checkpoint, where it is about weights with this digest; `CheckpointError` for a broken one."""
    path = checkpoint.with_suffix(SUFFIX)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["weights"] != digest:
            return None
        limits = tuple(
            Limits(int(one["words"]), {str(r): float(t) for r, t in one["evidence"].items()}, float(one["probability"]))
            for one in document["limits"]
        )
        return Honesty(str(document["weights"]), float(document["level"]), limits)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f'The file "{path.name}" beside the weights cannot be read; delete it.') from error


def word_evidence(inside: np.ndarray, outside: np.ndarray, valid: np.ndarray, weight: float) -> np.ndarray:
    """Evidence (K,) of every word: logits (Q, K) of both classifiers, `valid` (Q,), the frozen tower's weight alpha."""
    weights = weight * valid[:, None]
    return np.asarray(((1 - weights) * inside + weights * outside).max(0))


@torch.inference_mode()
def verdicts(
    honesty: Honesty | None,
    logits: Logits,
    labels: tuple[str, ...],
    seen: np.ndarray,
    alpha: float,
    false_alarms: float = FALSE_ALARMS,
) -> tuple[Verdict, ...]:
    """A verdict for every word that training saw; none where nothing was measured.

    Raises `ConfigError` for a rate of false alarms that was not measured.
    """
    limits = honesty.of(len(labels)) if honesty else None
    if limits is None:
        return ()
    rates = {float(rate): threshold for rate, threshold in limits.evidence.items()}
    if false_alarms not in rates:
        raise ConfigError(f"false_alarms={false_alarms!r} was not measured; choose {', '.join(map(str, rates))}.")
    evidence = word_evidence(
        _numbers(logits.class_logits[-1]),
        _numbers(logits.out_of_vocabulary_logits),
        logits.valid_masks[0].cpu().numpy(),
        alpha,
    )
    there = evidence >= rates[false_alarms]
    return tuple(Verdict(label, bool(there[i])) for i, label in enumerate(labels) if seen[i])


def _numbers(logits: Tensor) -> np.ndarray:
    return np.asarray(logits[0, :, :-1].float().cpu())


def likely_words(probabilities: np.ndarray, limits: Limits) -> list[int]:
    """Places of the words of a segment, the likeliest first, never none: `probabilities` (K,) among the list."""
    order = np.argsort(-probabilities, kind="stable")
    return [int(place) for place in order[: max(1, int((probabilities >= limits.probability).sum()))]]


@torch.inference_mode()
def words_of_kernels(
    honesty: Honesty | None, logits: Logits, log_probabilities: Tensor, labels: tuple[str, ...], seen: np.ndarray
) -> dict[int, tuple[str, ...]]:
    """For each kernel the words that hold the right one in 90 % of cases; {} where that was not measured.

    `log_probabilities` (Q, K+1) are those of the model's own settings, void last.
    """
    limits = honesty.of(len(labels)) if honesty else None
    if limits is None or not seen.all():
        return {}
    among = log_probabilities[:, :-1].softmax(-1).float().cpu().numpy()
    return {query: tuple(labels[i] for i in likely_words(row, limits)) for query, row in enumerate(among)}
