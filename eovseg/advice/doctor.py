"""Checks a word list on photos: words that can never win, words that compete, areas that no word fits, words to add.

Words to add are nouns that `eovseg.advice.suggest` ranks for the kernels that no word of the list fits.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy
import torch

from eovseg.advice.kernels import Kernels
from eovseg.advice.nouns import noun_rows, nouns, synonyms
from eovseg.advice.suggest import WEIGHT, Suggestion, likeliest, noun_scores, shares_name, starts
from eovseg.errors import ConfigError
from eovseg.model.classifier import in_and_out_log_probabilities
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.result import Result
    from eovseg.segmenter import Segmenter
    from eovseg.stages import Decoded, ImageState

MAX_PROPOSALS = 5
RIVAL_RATIO = 0.5  # a word is a rival if its probability is at least this share of the winner's
MIN_AREA_SHARE = 0.02  # smallest reported area without a word, as a share of the photo
_STEPS = 21  # values of alpha and of beta from 0 to 1


@dataclass(frozen=True)
class Rivals:
    """Two words of the list that are close rivals on `segments` segments; `synonyms` says whether they are synonyms."""

    words: tuple[str, str]
    segments: int
    synonyms: bool


@dataclass(frozen=True)
class UncoveredArea:
    """An area of one photo without a word: its share of the photo, its box x0, y0, x1, y1, and nouns that may fit.

    `where` is its place in words, such as "at the top left".
    """

    photo: str
    share: float
    box: tuple[int, int, int, int]
    nouns: tuple[str, ...]
    where: str


@dataclass(frozen=True)
class Diagnosis:
    """Problems with a list on some photos. `never`: words that are no kernel's best word, at any alpha and beta."""

    photos: int
    never: tuple[str, ...]
    rivals: tuple[Rivals, ...]
    gaps: tuple[UncoveredArea, ...]
    add: tuple[Suggestion, ...]

    def lines(self) -> list[str]:
        """The findings as plain sentences."""
        where = "this photo" if self.photos == 1 else f"these {self.photos:,} photos"
        notes = []
        if self.never:
            listed = ", ".join(f'"{word}"' for word in self.never)
            notes.append(f"These words win nowhere in {where}, whatever α and β: {listed}.")
        for pair in self.rivals:
            first, second = pair.words
            count = f"{pair.segments:,} segment" + ("s" if pair.segments > 1 else "")
            advice = f'; they are synonyms: write "{first}, {second}"' if pair.synonyms else ""
            notes.append(f'"{first}" and "{second}" compete for {count}{advice}.')
        for gap in self.gaps:
            fits = f"; {' or '.join(gap.nouns)} may fit" if gap.nouns else ""
            photo = f"{gap.photo}: n" if gap.photo else "N"
            notes.append(f"{photo}o word fits an area {gap.where} ({100 * gap.share:.0f} % of the photo){fits}.")
        if self.add:
            notes.append(f"Words to add: {', '.join(one.word for one in self.add)}.")
        return notes


def diagnose(
    predictor: "Segmenter", states: "Iterable[ImageState]", words: Vocabulary, settings: Settings
) -> Diagnosis:
    """Checks a list on encoded photos, one at a time. Raises `ConfigError` if there are none."""
    wins = np.zeros(len(words), dtype=bool)
    close: Counter[tuple[int, int]] = Counter()
    gaps: list[UncoveredArea] = []
    scores, photos = np.zeros(len(nouns())), 0
    for state in states:
        photos += 1
        decoded = predictor.decode(state, words)
        result = predictor.compose(decoded, settings=settings)
        wins |= can_win(predictor, decoded, settings)
        close.update(_rivals(predictor, decoded, result, settings))
        gaps += _gaps(predictor, decoded, result)
        scores += noun_scores(predictor, state, words.words)
    if not photos:
        raise ConfigError("There are no photos to check the list on.")
    rivals = [
        Rivals(
            (words.labels[a], words.labels[b]),
            count,
            bool(set(synonyms(words.classes[a].names, ())) & {*words.classes[b].names}),
        )
        for (a, b), count in close.most_common()
    ]
    never = tuple(label for label, won in zip(words.labels, wins, strict=True) if not won)
    return Diagnosis(
        photos, never, tuple(rivals), tuple(gaps), tuple(likeliest(scores / photos, MAX_PROPOSALS, words.words))
    )


@torch.inference_mode()
def can_win(predictor: "Segmenter", decoded: "Decoded", settings: Settings) -> np.ndarray:
    """Whether each word is the best of some kernel at some alpha and beta, both in steps of 0.05: (K,) bool.

    Kernels that are void at the settings' threshold do not count. Seen words depend only on alpha and unseen ones only
    on beta, so the best words of the two groups are compared.
    """
    rule = settings.applied(predictor.config)
    inside, outside = (p[0].float().cpu().numpy() for p in in_and_out_log_probabilities(decoded.logits))
    if rule.ensemble == "arithmetic":
        inside, outside = np.exp(inside), np.exp(outside)
    logits = decoded.logits
    void = logits.class_logits[-1][0].float().softmax(-1)[:, -1].cpu().numpy()
    valid = logits.valid_masks[0].cpu().numpy()
    kept = void <= (1 if rule.void_threshold is None else rule.void_threshold)
    seen = predictor.seen(decoded.vocabulary)
    steps = np.linspace(0, 1, _STEPS)[:, None, None] * valid[kept][:, None]
    mixed = (1 - steps) * inside[kept] + steps * outside[kept]  # (S, Q, K)
    won = np.zeros(len(seen), dtype=bool)
    for own in (seen, ~seen):
        if own.any() and kept.any():
            places = np.flatnonzero(own)
            best = mixed[:, :, places].max(2)
            rest = mixed[:, :, ~own].max(2).min(0) if not own.all() else -np.inf  # lowest over weights
            won[places[mixed[:, :, places].argmax(2)[best >= rest]]] = True
    return won


def _rivals(
    predictor: "Segmenter", decoded: "Decoded", result: "Result", settings: Settings
) -> "Counter[tuple[int, int]]":
    """Number of segments on which two classes are the best ones and close to each other."""
    rule = settings.applied(predictor.config)
    scores = predictor.log_probabilities(decoded, alpha=rule.alpha, beta=rule.beta, ensemble=rule.ensemble)
    found: Counter[tuple[int, int]] = Counter()
    if len(result.vocabulary) < 2:
        return found
    for query in result.queries:
        values, places = scores[query, :-1].exp().topk(2)
        if float(values[1]) >= RIVAL_RATIO * float(values[0]):
            first, second = sorted(places.tolist())
            found[first, second] += 1
    return found


def _gaps(predictor: "Segmenter", decoded: "Decoded", result: "Result") -> list[UncoveredArea]:
    """Connected areas without a segment, largest first, with the nouns of the kernel that covers each one best."""
    labels, count = scipy.ndimage.label(result.segment_map == 0)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    boxes = scipy.ndimage.find_objects(labels)
    large = [i for i in range(1, count + 1) if areas[i] >= MIN_AREA_SHARE * labels.size]
    if not large:
        return []
    kernels = Kernels.of(predictor, decoded)
    likely = kernels.log_probabilities(noun_rows(predictor), starts(), WEIGHT)
    taken = {name.casefold() for name in result.vocabulary.words}
    masks = (decoded.logits.mask_logits[-1][0] > 0).cpu().numpy()
    gaps = []
    for number in sorted(large, key=lambda i: -areas[i]):
        covered = on_grid(labels == number, decoded)
        overlap = (masks & covered).sum((1, 2)) / np.maximum((masks | covered).sum((1, 2)), 1)
        order = np.argsort(-likely[int(overlap.argmax())], kind="stable").tolist()
        fitting = [nouns().classes[i] for i in order[:10] if not shares_name(nouns().classes[i], taken)]
        rows, columns = boxes[number - 1]
        box = (int(columns.start), int(rows.start), int(columns.stop), int(rows.stop))
        fits = tuple(entry.label for entry in fitting[:3])
        share, where = float(areas[number] / labels.size), place_in_words(box, labels.shape)
        gaps.append(UncoveredArea(result.name, share, box, fits, where))
    return gaps


def place_in_words(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> str:
    """Where a box x0, y0, x1, y1 lies in a photo (H, W): "at the top left", "spread across the photo", …"""
    (x0, y0, x1, y1), (height, width) = box, shape
    sides, wide = [], False
    for low, high, size, names in ((y0, y1, height, ("top", "bottom")), (x0, x1, width, ("left", "right"))):
        third = int(3 * (low + high) / 2 / size)  # that of the box's centre: 0, 1 or 2
        if high - low > size * 2 / 3:
            wide = True
        elif third != 1:
            sides.append(names[third // 2])
    return "at the " + " ".join(sides) if sides else "spread across the photo" if wide else "in the middle"


def on_grid(mask: np.ndarray, decoded: "Decoded") -> np.ndarray:
    """A mask (H, W) resampled to the size of the kernels' masks (h, w); the padding is empty."""
    height, width = decoded.logits.mask_logits[-1].shape[-2:]
    features = decoded.state.features
    (inner_height, inner_width), (padded_height, padded_width) = features.image_size, features.padded_size
    rows = ((np.arange(height) + 0.5) * padded_height / height / inner_height * mask.shape[0]).astype(int)
    columns = ((np.arange(width) + 0.5) * padded_width / width / inner_width * mask.shape[1]).astype(int)
    inside = (rows < mask.shape[0])[:, None] & (columns < mask.shape[1])
    return np.asarray(mask[np.minimum(rows, mask.shape[0] - 1)][:, np.minimum(columns, mask.shape[1] - 1)] & inside)
