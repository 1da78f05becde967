"""The extras of an evaluation that concern the true regions of a photo, as rows for its `PhotoCounts`."""

import numpy as np
from torch import Tensor

from eovseg.evaluation.average_precision import short_float
from eovseg.evaluation.classification import true_ranks
from eovseg.evaluation.counts import NamedRegion, RegionMasks, VoidScore
from eovseg.evaluation.decoded import DecodedPhoto
from eovseg.evaluation.mask_recall import region_masks
from eovseg.evaluation.true_masks import masks_on_grid, true_mask_scores, void_probabilities
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary


class Regions:
    """Outputs of a network for the true regions of photos, except crowds, with the words of an evaluation."""

    def __init__(self, predictor: Predictor, vocabulary: Vocabulary, settings: Settings) -> None:
        self.predictor, self.vocabulary = predictor, vocabulary
        self.rule = settings.applied(predictor.config)

    def names(self, kept: DecodedPhoto) -> list[NamedRegion]:
        """The rank of the true class of each true mask."""
        segments, grid = _true_masks(kept)
        if not segments:
            return []
        labels = np.array([kept.truth.classes[i] for i in segments])
        rule = self.rule
        scores = true_mask_scores(self.predictor, kept.decoded, grid, rule.alpha, rule.beta, rule.ensemble)
        ranks = [true_ranks(rows, labels, len(self.vocabulary)).tolist() for rows in scores.values()]
        return [NamedRegion(*row) for row in zip(labels.tolist(), *ranks, strict=True)]

    def without_words(self, kept: DecodedPhoto) -> list[VoidScore]:
        """Void probabilities without half of the photo's classes, and without the other half."""
        segments, grid = _true_masks(kept)
        present = sorted({kept.truth.classes[i] for i in segments})
        rows: list[VoidScore] = []
        for omitted in (set(present[::2]), set(present[1::2])):
            words = tuple(c for i, c in enumerate(self.vocabulary.classes) if i not in omitted)
            if not words:
                continue
            decoded = self.predictor.decode(kept.decoded.state, Vocabulary(words))
            void = void_probabilities(decoded.logits, grid).tolist()
            absent = [kept.truth.classes[i] in omitted for i in segments]
            rows += [VoidScore(short_float(one), gone) for one, gone in zip(void, absent, strict=True)]
        return rows

    def masks(self, kept: DecodedPhoto, result: Result) -> list[RegionMasks]:
        """Which true regions of a photo are matched by its kernels and by its panoptic `result`."""
        rule = self.rule
        scores = self.predictor.log_probabilities(
            kept.decoded, alpha=rule.alpha, beta=rule.beta, ensemble=rule.ensemble
        )
        return region_masks(kept.decoded, scores, kept.truth, result, self.vocabulary.is_thing)


def _true_masks(kept: DecodedPhoto) -> tuple[list[int], Tensor]:
    segments = kept.truth.regions()
    return segments, masks_on_grid(kept.truth.masks(segments), kept.decoded.state.features)
