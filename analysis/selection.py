"""How much VAS selects on labelled photos: the spread of its weights, and whether a word's similarity moves onto the
segments of that word.

Weights come from `vas_weight`, with every word of the vocabulary competing. The similarity of a word comes from
`similarity_maps`, before and after VAS; its share is its `concentration` on the pixels of the word's class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.similarity import concentration, similarity_maps, vas_weight
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.evaluation.bootstrap import RESAMPLES, draws_of, interval
from eovseg.evaluation.evaluate import Evaluator
from eovseg.evaluation.means import photo_mean
from eovseg.evaluation.report import plain_values
from eovseg.predictor import Predictor
from eovseg.vocabulary import Vocabulary

PERCENTILES = (10, 90)
_STRIDE = 8  # pooled percentiles use every eighth row and column of each photo
_MAX_ELEMENTS = 2**22


@dataclass(frozen=True)
class WeightSpread:
    """10th and 90th percentile of VAS's weights over the pixels of a photo."""

    photo: str
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """90th percentile divided by the 10th; NaN if the 10th is not positive."""
        return self.high / self.low if self.low > 0 else float("nan")


@dataclass(frozen=True)
class WordPair:
    """A word on a photo that contains it: the share (0..1) of its positive similarity on its true pixels, before and
    after VAS; NaN if no pixel is positive. `area`, their share of the photo, is what a uniform map would give."""

    photo: str
    word: str
    before: float
    after: float
    area: float


@dataclass(frozen=True, eq=False)
class Selection:
    """VAS on each photo; `samples` are subsampled weights of each photo, for percentiles over all photos."""

    spreads: tuple[WeightSpread, ...]
    pairs: tuple[WordPair, ...]
    samples: tuple[np.ndarray, ...]

    @cached_property
    def summary(self) -> dict[str, dict[str, float]]:
        """Each statistic: its value and the bounds "low" and "high" of its 95 % interval (bootstrap over photos)."""
        photos = len(self.spreads)
        draws = draws_of(photos)
        place = {spread.photo: number for number, spread in enumerate(self.spreads)}
        known = [pair for pair in self.pairs if np.isfinite(pair.before) and np.isfinite(pair.after)]
        of_pair = np.array([place[pair.photo] for pair in known], dtype=np.int64)
        before, after = (np.array([getattr(pair, name) for pair in known]) for name in ("before", "after"))
        ratios = np.array([spread.ratio for spread in self.spreads])
        found_at_all = np.array(
            [np.isfinite(pair.before) and np.isfinite(pair.after) for pair in self.pairs], dtype=float
        )
        of_all = np.array([place[pair.photo] for pair in self.pairs], dtype=np.int64)
        figures = {
            "weights, 90th over 10th percentile, mean over photos": photo_mean(ratios, np.arange(photos), draws),
            "weights, 90th over 10th percentile, all pixels together": _pooled_ratio(self.samples, draws),
            "pairs with positive similarity before and after": photo_mean(found_at_all, of_all, draws),
            "share on true segments before": photo_mean(before, of_pair, draws),
            "share on true segments after": photo_mean(after, of_pair, draws),
            "pairs with a higher share after": photo_mean(after > before, of_pair, draws),
        }
        found = {}
        for name, values in figures.items():
            low, high = interval(values[1:], values[0])
            found[name] = {"value": float(values[0]), "low": low, "high": high}
        return found

    def to_json(self) -> dict[str, Any]:
        """The summary and a row for each photo and each pair; NaN becomes null."""
        photos = [asdict(spread) | {"ratio": spread.ratio} for spread in self.spreads]
        found = {"summary": self.summary, "resamples": RESAMPLES, "photos": photos, "pairs": self.pairs}
        return {name: plain_values(value) for name, value in found.items()}


def measure_selection(
    predictor: Predictor,
    folder: LabelledFolder,
    photos: Sequence[Photo],
    vocabulary: Vocabulary,
) -> Selection:
    """Measures VAS on `photos` of a folder with all words of `vocabulary`; pairs use the first word of a class.

    Raises `ConfigError` if the model has no VAS, and `DataError` for categories without a class.
    """
    evaluator = Evaluator(folder, vocabulary, predictor.seen(vocabulary))
    spreads, samples, pairs = [], [], []
    for photo in photos:
        state = predictor.encode_image(folder.load_image(photo), keep=False)
        decoded = predictor.decode(state, evaluator.vocabulary, intermediates=True)
        weights = vas_weight(predictor, decoded)
        low, high = np.percentile(weights, PERCENTILES).tolist()
        spreads.append(WeightSpread(photo.file_name, low, high))
        samples.append(weights[::_STRIDE, ::_STRIDE].ravel())
        class_map = evaluator.truth(photo).class_map()
        present = [index for index in np.unique(class_map).tolist() if index >= 0]
        if present:
            maps = similarity_maps(predictor, decoded, [evaluator.vocabulary.labels[index] for index in present])
            for row, index in enumerate(present):
                inside = class_map == index
                before, after = (concentration(values[row], inside) for values in (maps.before, maps.after))
                pairs.append(WordPair(photo.file_name, maps.words[row], before, after, float(inside.mean())))
    return Selection(tuple(spreads), tuple(pairs), tuple(samples))


def _pooled_ratio(samples: Iterable[np.ndarray], draws: np.ndarray) -> np.ndarray:
    """(R,) 90th over 10th percentile of all samples of each draw of photos; NaN if the 10th is not positive."""
    samples = list(samples)
    values = np.concatenate(samples)
    place = np.repeat(np.arange(len(samples)), [len(sample) for sample in samples])
    order = np.argsort(values)
    values, place = values[order], place[order]
    ratios = np.empty(len(draws))
    step = max(1, _MAX_ELEMENTS // len(values))
    for start in range(0, len(draws), step):
        reached = draws[start : start + step][:, place].cumsum(axis=1)
        for row, counts in enumerate(reached, start):
            low, high = (values[np.searchsorted(counts, percent / 100 * counts[-1])] for percent in PERCENTILES)
            ratios[row] = high / low if low > 0 else np.nan
    return ratios
