"""What is in this photo? Everyday nouns, the likeliest first.

A noun's evidence is the sum over all object kernels of its probability among the nouns, times that of being anything;
its logarithm and that of how usual the noun is add up. What else was tried, and how well each does, stands in
assets/evaluation/advice/suggest.csv (`python -m eovseg.evaluation.advice`).
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from eovseg.advice.kernels import Kernels
from eovseg.advice.nouns import noun_rows, nouns
from eovseg.vocabulary import TRAINING_PRESET, Vocabulary, WordClass

if TYPE_CHECKING:
    from eovseg.segmenter import Segmenter
    from eovseg.stages import ImageState

WEIGHT = 0.5  # of the frozen tower, for all nouns
USUAL = 1.0  # weight of the prior
_HEAD = 5.0  # Zipf-Mandelbrot: a noun's prior falls with its place as 1 / (place + 5)


@dataclass(frozen=True)
class Suggestion:
    """A noun that the photo may hold: its label first, and its synonyms; `score` is a logarithm, for comparing only."""

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
    """Whether one of its names, without case, is among `taken`, which are in small letters."""
    return any(name.casefold() in taken for name in entry.names)


def noun_scores(predictor: "Segmenter", state: "ImageState", listed: Collection[str] = ()) -> np.ndarray:
    """The score (K,) of every noun; the kernels are decoded with COCO's words, whatever a visitor's words are.

    With the names of a list, kernels count as far as no noun of the list fits them.
    """
    kernels = Kernels.of(predictor, predictor.decode(state, Vocabulary.preset(TRAINING_PRESET)))
    taken = {name.casefold() for name in listed}
    on_list = np.array([shares_name(entry, taken) for entry in nouns().classes])
    return evidence(kernels, noun_rows(predictor), on_list=on_list) + USUAL * prior()


def evidence(
    kernels: Kernels, rows: np.ndarray, weight: float = WEIGHT, on_list: np.ndarray | None = None
) -> np.ndarray:
    """log of the sum over kernels of p(noun) (1 - p(void)): rows (N, D) of all names -> (K,).

    `on_list` (K,) bool: nouns that a list has; a kernel counts by the probability that it is none of these.
    """
    probabilities = np.exp(kernels.log_probabilities(rows, starts(), weight)) * (1 - kernels.void[:, None])
    if on_list is not None:
        probabilities *= 1 - probabilities[:, on_list].sum(1, keepdims=True) / probabilities.sum(1, keepdims=True)
    return np.asarray(np.log(probabilities.sum(0) + 1e-9))


@cache
def starts() -> np.ndarray:
    """(K,) where each noun's names begin."""
    return np.unique(nouns().class_of_word, return_index=True)[1]


@cache
def prior() -> np.ndarray:
    """(K,) log of how usual a noun is, by its place; those that COCO does not have share one value, COCO's mean."""
    usual = -np.log(np.arange(len(nouns())) + _HEAD)
    labelled = len(Vocabulary.preset(TRAINING_PRESET))
    usual[labelled:] = usual[:labelled].mean()
    return usual
