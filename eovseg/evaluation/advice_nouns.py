"""How well nouns are suggested and proposed: the tables `suggest` and `doctor` of `eovseg.evaluation.advice`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.evaluation.bootstrap import named, share_of

if TYPE_CHECKING:
    from eovseg.advice.kernels import Kernels
    from eovseg.evaluation.word_values import ListValues, PhotoValues

Row = dict[str, Any]


def suggest_table(photos: "Sequence[PhotoValues]", methods: "Methods") -> list[Row]:
    """Recall at 10 and 20 of each ranking method, and of the method chosen on one half of the photos for the other."""
    hits = {name: {k: np.zeros(len(photos), dtype=np.int64) for k in (10, 20)} for name in methods.names}
    for number, photo in enumerate(photos):
        for name, order in methods.orders(photo).items():
            for k, found in hits[name].items():
                found[number] = methods.found(order[:k], photo)
    true = np.array([int((photo.share > 0).sum()) for photo in photos])
    rows = [_recall_row(name, found, true) for name, found in hits.items()]
    half = np.arange(len(photos)) % 2
    chosen = {k: np.zeros(len(photos), dtype=np.int64) for k in (10, 20)}
    for own in (0, 1):
        best = max(
            methods.names, key=lambda name: hits[name][20][half != own].sum() + hits[name][10][half != own].sum()
        )
        for k in chosen:
            chosen[k][half == own] = hits[best][k][half == own]
    rows.append(_recall_row("chosen on the other half", chosen, true))
    return rows


def _recall_row(name: str, hits: Mapping[int, np.ndarray], true: np.ndarray) -> Row:
    row: Row = {"ranked by": name}
    for k, found in hits.items():
        row |= named(f"recall at {k}", *share_of(found, true))
    return row


def doctor_table(photos: "Sequence[PhotoValues]", methods: "Methods") -> list[Row]:
    """How often a true class is among the five nouns proposed for a list of the photo's other classes."""
    from eovseg.advice.doctor import MAX_PROPOSALS

    hits: dict[str, list[int]] = {}
    for photo in photos:
        own, kernels = np.flatnonzero(photo.share).tolist(), methods.kernels(photo.full)
        counts: dict[str, int] = {}
        for gone in own:
            for name, order in methods.proposals(kernels, [index for index in own if index != gone]).items():
                counts[name] = counts.get(name, 0) + int(gone in methods.coco[order[:MAX_PROPOSALS]])
        for name, count in counts.items():
            hits.setdefault(name, []).append(count)
    true = np.array([int((photo.share > 0).sum()) for photo in photos])
    plain = np.array(hits["suggest"])
    return [
        {"proposed by": name}
        | named("found", *share_of(np.array(found), true))
        | named("more than suggest", *share_of(np.array(found) - plain, true))
        for name, found in hits.items()
    ]


class Methods:
    """The methods for ranking nouns that are compared, for photos with COCO's classes."""

    def __init__(self, rows: np.ndarray, scales: tuple[float, float]) -> None:
        from eovseg.advice.nouns import nouns
        from eovseg.presets import TRAINING_PRESET
        from eovseg.vocabulary import Vocabulary

        owner: dict[str, int] = {}
        for index, entry in enumerate(Vocabulary.preset(TRAINING_PRESET).classes):
            for name in entry.names:
                owner.setdefault(name.casefold().replace("-", " "), index)
        # The COCO class of each noun, -1 for none.
        self.coco = np.array([next((owner[n] for n in e.names if n in owner), -1) for e in nouns().classes])
        self.rows, self.scales = rows, scales
        parts = ("kernels", "trained classifier", "image encoder", "best kernel", "VAS", "cells", "kernels and VAS")
        self.names = ["most frequent classes", *(f"{p}{end}" for p in parts for end in ("", " + prior"))]

    def kernels(self, values: "ListValues") -> "Kernels":
        from eovseg.advice.kernels import Kernels

        return Kernels(values.class_embeddings, values.frozen_embeddings, values.valid, values.void, self.scales)

    def scores(self, photo: "PhotoValues") -> dict[str, np.ndarray]:
        """The score (K,) of every noun, by method."""
        from scipy.special import log_softmax

        from eovseg.advice.suggest import WEIGHT, evidence, starts

        kernels = self.kernels(photo.full)
        best = kernels.log_probabilities(self.rows, starts(), WEIGHT) + np.log(1 - kernels.void + 1e-9)[:, None]
        cells = np.maximum.reduceat(self.scales[1] * photo.cells @ self.rows.T, starts(), axis=1)
        found = {
            "kernels": evidence(kernels, self.rows),
            "trained classifier": evidence(kernels, self.rows, 0.0),
            "image encoder": evidence(kernels, self.rows, 1.0),
            "best kernel": best.max(0),
            "VAS": np.maximum.reduceat(photo.vas[1], starts()),
            "cells": np.log(np.exp(log_softmax(cells, axis=1)).mean(0)),
        }
        return found | {"kernels and VAS": found["kernels"] + 0.5 * found["VAS"]}

    def orders(self, photo: "PhotoValues") -> dict[str, np.ndarray]:
        """All nouns ranked by each method, likeliest first."""
        from eovseg.advice.suggest import prior

        found = {self.names[0]: prior()}
        for part, scores in self.scores(photo).items():
            found |= {part: scores, f"{part} + prior": scores + prior()}
        return {name: np.argsort(-found[name], kind="stable") for name in self.names}

    def found(self, places: np.ndarray, photo: "PhotoValues") -> int:
        """How many of the photo's true classes are named by the nouns with the indices `places`."""
        return len(set(self.coco[places].tolist()) & set(np.flatnonzero(photo.share).tolist()))

    def proposals(self, kernels: "Kernels", listed: Sequence[int]) -> dict[str, np.ndarray]:
        """Nouns ranked for a list of the classes `listed`, by methods that use the list and methods that do not."""
        from eovseg.advice.suggest import evidence, prior, starts

        on_list = np.isin(self.coco, listed)
        labels = self.rows[starts()]
        near = (labels @ labels[on_list].T).max(1) if on_list.any() else np.zeros(len(labels))
        plain = evidence(kernels, self.rows) + prior()
        scores = {
            "most frequent classes": prior(),
            "suggest": plain,
            "suggest, where no listed word fits": evidence(kernels, self.rows, on_list=on_list) + prior(),
            "suggest, far from listed words": plain - 2 * near,
        }
        return {name: np.argsort(-np.where(on_list, -np.inf, s), kind="stable") for name, s in scores.items()}
