"""Similarity of words and pixels before and after VAS (Fig. 5), in VAS's own space.

The paper does not say how text and features are compared in its figure. Here VAS's two projections are used:
before = <E(F_agg), G(t)> / sqrt(d), after = <E(F_vs), G(t)> / sqrt(d), the scaled dot product that VAS itself uses
(mean over its heads). Draw both maps on one colour scale; otherwise the difference disappears.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.grids import grid_cell, on_photo
from eovseg.errors import ConfigError
from eovseg.model.vas import VocabularyAwareSelection
from eovseg.predictor import Predictor
from eovseg.result import Result
from eovseg.stages import Decoded

Measure = Literal["scaled dot product", "cosine"]
VOID = "(none of these words)"


@dataclass(frozen=True, eq=False)
class SimilarityMaps:
    """Similarity of n words with every pixel of the photo, `before` and `after` VAS, each (n, H, W) float32.

    `weight_limits`: the smallest and the largest VAS weight on the photo, averaged over its heads.
    """

    words: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    measure: Measure
    weight_limits: tuple[float, float]

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value of all maps: the limits of their common colour scale."""
        return float(min(self.before.min(), self.after.min())), float(max(self.before.max(), self.after.max()))


@dataclass(frozen=True)
class WordScore:
    """One word at one pixel: its similarity before and after VAS, and its share of VAS's softmax over all words."""

    word: str
    before: float
    after: float
    share: float


@torch.inference_mode()
def similarity_maps(
    predictor: Predictor, decoded: Decoded, words: Sequence[str], measure: Measure = "scaled dot product"
) -> SimilarityMaps:
    """Maps of `words` on a decoded photo. Words outside its vocabulary are allowed; they do not compete in VAS.

    Cosine ignores lengths, and with them most of the effect of a weight per pixel. Raises `ConfigError` if the model
    has no VAS or no word is given.
    """
    if not words:
        raise ConfigError("Give at least one word to compare with the photo.")
    vas, *features, weights = _features(predictor, decoded)
    before, after = map(vas.embed, features)
    embedded = predictor.words.embed(list(words))
    for word in decoded.vocabulary.examples.values():
        if word.name in words:
            embedded[words.index(word.name)] = word.vector
    rows = torch.from_numpy(embedded).to(before)
    maps = [on_photo(_compare(vas, embedding, rows, measure)[0], decoded.state) for embedding in (before, after)]
    weight = _on_photo(weights, decoded)
    return SimilarityMaps(tuple(words), maps[0], maps[1], measure, (float(weight.min()), float(weight.max())))


@torch.inference_mode()
def vas_weight(predictor: Predictor, decoded: Decoded) -> np.ndarray:
    """(H, W) float32: the weight VAS multiplies each pixel by, averaged over heads, with scale and offset applied."""
    *_, weights = _features(predictor, decoded)
    return _on_photo(weights, decoded)


@torch.inference_mode()
def word_competition(predictor: Predictor, decoded: Decoded, x: float, y: float, top: int = 10) -> list[WordScore]:
    """The `top` words by share at photo pixel (x, y); the shares of all words, including void, sum to 1."""
    vas, aggregated, selected, _ = _features(predictor, decoded)
    row, column = grid_cell(decoded.state, x, y)
    text, _ = predictor.network.text_rows(predictor.text_embeddings(decoded.vocabulary))
    # E has a 3×3 receptive field, so embed the neighbourhood of the cell and read only its middle.
    top_row, left = max(row - 1, 0), max(column - 1, 0)
    around = (..., slice(top_row, row + 2), slice(left, column + 2))
    middle = (..., slice(row - top_row, row - top_row + 1), slice(column - left, column - left + 1))
    columns = [vas.embed(features[around])[middle] for features in (aggregated, selected)]
    first, second = (vas.similarity(e, text)[0, ..., 0] for e in columns)  # (heads, N)
    share = first.softmax(dim=-1).mean(dim=0)
    names = (*decoded.vocabulary.words, VOID)
    order = share.argsort(descending=True)[:top].tolist()
    return [WordScore(names[i], float(first[:, i].mean()), float(second[:, i].mean()), float(share[i])) for i in order]


def concentration(similarity: np.ndarray, inside: np.ndarray) -> float:
    """Share (0..1) of the positive part of a map (H, W) that lies where `inside` (H, W) bool is true.

    NaN if nothing is positive. Raises ValueError if the sizes differ.
    """
    if similarity.shape != inside.shape:
        raise ValueError(f"The map is {similarity.shape} and the segments {inside.shape}; sizes must agree.")
    positive = np.clip(similarity, 0, None)
    total = float(positive.sum(dtype=np.float64))
    return float(positive[inside].sum(dtype=np.float64)) / total if total > 0 else float("nan")


@dataclass(frozen=True)
class WordFocus:
    """`concentration` of a word on the segments with that word, before and after VAS, each 0..1.

    `area` is the share of the photo that those segments cover, which is what a uniform map would give. Values are NaN
    if no segment has the word or if a map has nothing positive.
    """

    word: str
    before: float
    after: float
    area: float


def word_focus(maps: SimilarityMaps, index: int, result: Result) -> WordFocus:
    """The `WordFocus` of word `index` of the maps, with the segments of a result of the same photo."""
    word = maps.words[index]
    inside = word_mask(result, word)
    if not inside.any():
        return WordFocus(word, float("nan"), float("nan"), float("nan"))
    shares = [concentration(values[index], inside) for values in (maps.before, maps.after)]
    return WordFocus(word, shares[0], shares[1], float(inside.mean()))


def word_mask(result: Result, word: str) -> np.ndarray:
    """(H, W) bool: the segments of `result` whose class has `word` among its names, ignoring case."""
    wanted = word.strip().casefold()
    classes = {
        index
        for index, entry in enumerate(result.vocabulary.classes)
        if wanted in (name.casefold() for name in entry.names)
    }
    ids = [segment.id for segment in result.segments if segment.class_id in classes]
    return np.isin(result.segment_map, ids)


def _features(predictor: Predictor, decoded: Decoded) -> tuple[VocabularyAwareSelection, Tensor, Tensor, Tensor]:
    """VAS, F_agg and F_vs, both (1, C, h, w), and the weights (1, heads, h, w)."""
    network = predictor.network
    if network.vas is None:
        raise ConfigError("This model was built without VAS, so there is nothing to compare.")
    wide = network.void_embedding.weight.dtype  # a bfloat16 predictor has narrower maps than weights
    aggregated, inside = decoded.state.features.aggregated.to(wide), decoded.intermediates
    if inside is not None and inside.vas_weights is not None:
        return network.vas, aggregated, inside.selected.to(wide), inside.vas_weights
    text, _ = network.text_rows(predictor.text_embeddings(decoded.vocabulary))
    selection = network.select(aggregated, text)
    assert selection.weights is not None
    return network.vas, aggregated, selection.selected, selection.weights


def _on_photo(weights: Tensor, decoded: Decoded) -> np.ndarray:
    """Weights (1, heads, h, w), averaged over heads and resized to the photo (H, W)."""
    return on_photo(weights[0].mean(dim=0, keepdim=True), decoded.state)[0]


def _compare(vas: VocabularyAwareSelection, embedding: Tensor, rows: Tensor, measure: Measure) -> Tensor:
    """Similarity of an embedding (1, D, h, w) with word rows (n, D) -> (1, n, h, w)."""
    if measure == "scaled dot product":
        return vas.similarity(embedding, rows).mean(dim=1).unflatten(-1, embedding.shape[-2:])
    if measure != "cosine":
        raise ConfigError(f"measure={measure!r} is not allowed; choose scaled dot product or cosine.")
    guide = F.normalize(vas.guide(rows).unflatten(-1, (vas.heads, -1)), dim=-1)  # (n, heads, d)
    split = F.normalize(embedding.unflatten(1, (vas.heads, -1)), dim=2)  # (1, heads, d, h, w)
    return torch.einsum("bkdhw,nkd->bknhw", split, guide).mean(dim=1)
