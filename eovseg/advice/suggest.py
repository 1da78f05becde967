"""Suggests everyday nouns for a photo, likeliest first.

A noun's evidence is the sum over all object kernels of its probability among the nouns times (1 - void probability).
Its score is log evidence + log prior, where the prior is the frequency of the noun. Other methods are compared in
assets/evaluation/advice/suggest.csv (`python -m eovseg.evaluation.advice`).
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from eovseg.advice.kernels import Kernels
from eovseg.advice.nouns import noun_rows, nouns
from eovseg.presets import TRAINING_PRESET
from eovseg.vocabulary import Vocabulary, WordClass

if TYPE_CHECKING:
    from eovseg.segmenter import Segmenter
    from eovseg.stages import ImageState

WEIGHT = 0.5  # weight of the frozen image encoder, for all nouns
PRIOR_WEIGHT = 1.0  # weight of the prior
_HEAD = 5.0  # Zipf-Mandelbrot: the prior of the noun with index i is proportional to 1 / (i + 5)


@dataclass(frozen=True)
class Suggestion:
    """A noun that may be in the photo: label and synonyms; `score` is a logarithm, only meaningful for comparison."""

    names: tuple[str, ...]
    is_thing: bool
    score: float

    @property
    def word(self) -> str:
        return self.names[0]


def likeliest(scores: np.ndarray, count: int, listed: Collection[str] = ()) -> list[Suggestion]:
    """The `count` nouns with the highest of `scores` (K,), without those that share a name with `listed`."""
    entries, taken = nouns().classes, {name.casefold() for name in listed}
    free = [i for i in np.argsort(-scores, kind="stable").tolist() if not shares_name(entries[i], taken)]
    return [Suggestion(entries[i].names, entries[i].is_thing, float(scores[i])) for i in free[:count]]


def shares_name(entry: WordClass, taken: Collection[str]) -> bool:
    """Whether one of its names, ignoring case, is in `taken`, whose names are in lower case."""
    return any(name.casefold() in taken for name in entry.names)


def noun_scores(predictor: "Segmenter", state: "ImageState", listed: Collection[str] = ()) -> np.ndarray:
    """The score (K,) of every noun; the kernels are always decoded with COCO's words.

    `listed` are names of a word list: kernels are weighted by the probability that none of the listed nouns fits them.
    """
    kernels = Kernels.of(predictor, predictor.decode(state, Vocabulary.preset(TRAINING_PRESET)))
    taken = {name.casefold() for name in listed}
    on_list = np.array([shares_name(entry, taken) for entry in nouns().classes])
    return evidence(kernels, noun_rows(predictor), on_list=on_list) + PRIOR_WEIGHT * prior()


def evidence(
    kernels: Kernels, rows: np.ndarray, weight: float = WEIGHT, on_list: np.ndarray | None = None
) -> np.ndarray:
    """Log of the sum over kernels of p(noun) (1 - p(void)): rows (N, D) of all names -> (K,).

    `on_list` (K,) bool marks the nouns of a word list: kernels are weighted by the probability that none of them fits.
    """
    probabilities = np.exp(kernels.log_probabilities(rows, starts(), weight)) * (1 - kernels.void[:, None])
    if on_list is not None:
        probabilities *= 1 - probabilities[:, on_list].sum(1, keepdims=True) / probabilities.sum(1, keepdims=True)
    return np.asarray(np.log(probabilities.sum(0) + 1e-9))


@cache
def starts() -> np.ndarray:
    """The index (K,) of the first name of each noun."""
    return np.unique(nouns().class_of_word, return_index=True)[1]


@cache
def prior() -> np.ndarray:
    """Log prior (K,) of each noun by its rank; nouns that are not COCO classes share the mean of those that are."""
    usual = -np.log(np.arange(len(nouns())) + _HEAD)
    labelled = len(Vocabulary.preset(TRAINING_PRESET))
    usual[labelled:] = usual[:labelled].mean()
    return usual
