"""What would change this answer? For a segment, the smallest change of each kind that gives it another name.

There are three kinds of changes: removing words, adding a synonym, and changing a setting in steps of 0.01. The search
uses cached logits. Each change that it finds is verified with the public predictor, and dropped if that disagrees.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eovseg.advice.doctor import on_grid
from eovseg.advice.kernels import Kernels
from eovseg.advice.nouns import synonyms
from eovseg.background import merge_background, with_background
from eovseg.composition.panoptic import acceptance_order, mask_cells, uncovered
from eovseg.model.config import ModelConfig
from eovseg.result import Result
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary, WordClass, Words

if TYPE_CHECKING:
    from eovseg.images import ImageSource
    from eovseg.segmenter import Segmenter
    from eovseg.stages import Decoded

SEARCHED_SETTINGS = {
    "alpha": "α",
    "beta": "β",
    "score_threshold": '"Minimum score"',
    "overlap_threshold": '"Minimum uncovered part of a mask"',
    "void_threshold": '"Drop if probably none of these words"',
}  # the settings, with the names of the page's sliders
STEPS = 100  # steps of a setting from 0 to 1, as on the page
MAX_LOGIT_GAP = 1.0  # a synonym is tried if its logit is at most this much below the winner's
MAX_DECODED = 40  # maximum number of word lists tried for one kind of change


@dataclass(frozen=True)
class Counterfactual:
    """A change that renames a segment; `words` and `settings` are the predictor's arguments with the change.

    `kind` is "remove", "add" or the name of a setting. `size` is the number of words, or the change of the setting.
    `name` is the new name of most of the segment, None if it has none. `sentence` describes the change and its effect.
    """

    kind: str
    size: float
    words: Vocabulary
    settings: Settings
    name: str | None
    sentence: str


def counterfactuals(
    predictor: "Segmenter",
    photo: "ImageSource",
    words: Words,
    segment: int,
    *,
    background: Words | None = None,
    settings: Settings | None = None,
) -> list[Counterfactual]:
    """The smallest change of each kind that renames the segment with the id `segment`; kinds without one are omitted.

    The segment is one of the result of `predictor(photo, words, background=background, settings=settings)`. Words of
    the background are never removed. With more than `MAX_DECODED` words, only the likeliest are tried.
    Raises `ConfigError` if the result has no such segment.
    """
    search = _Search(
        predictor, photo, Vocabulary.coerce(words, apart_from=background), background, settings or Settings(), segment
    )
    found = [search.removal(), search.addition(), *map(search.setting_change, SEARCHED_SETTINGS)]
    return [change for change in found if change is not None and search.replayed(change)]


class _Search:
    """Searches for changes that rename one segment."""

    def __init__(
        self,
        predictor: "Segmenter",
        photo: "ImageSource",
        words: Vocabulary,
        background: Words | None,
        settings: Settings,
        segment: int,
    ) -> None:
        self.predictor, self.photo, self.words, self.settings = predictor, photo, words, settings
        self.background = None if background is None else Vocabulary.coerce(background, apart_from=words)
        self.state = predictor.encode_image(photo)
        self.decoded = self._decode(words)
        result = self._result(self.decoded, words, settings)
        place = result.index_of(segment)
        self.mask, self.name = result.mask(place), result.segments[place].label
        self.winner = result.segments[place].class_id
        self.query = result.queries[place] if result.queries else -1

    def _decode(self, words: Vocabulary) -> "Decoded":
        wide = words if self.background is None else with_background(words, self.background)
        return self.predictor.decode(self.state, wide)

    def _result(self, decoded: "Decoded", words: Vocabulary, settings: Settings) -> Result:
        result = self.predictor.compose(decoded, settings=settings)
        return result if self.background is None else merge_background(result, words)

    def replayed(self, change: Counterfactual) -> bool:
        """Whether the public predictor gives the segment the name of the change."""
        result = self.predictor(
            self.photo, change.words, background=self.background, settings=change.settings, keep=True
        )
        return self._differs(result) and name_under(result, self.mask) == change.name

    def _differs(self, result: Result) -> bool:
        return name_under(result, self.mask) != self.name

    def _renamed(self, words: Vocabulary) -> tuple[bool, str | None]:
        result = self._result(self._decode(words), words, self.settings)
        return self._differs(result), name_under(result, self.mask)

    # Words.

    def removal(self) -> Counterfactual | None:
        """Removes as few names as possible: any single name, or several names of the winning class."""
        if self.winner >= len(self.words):
            return None  # the segment "other" has none of the listed words
        own = self._by_score(self.words.classes[self.winner].names)
        others = [name for name in self.words.words if name not in own]
        single = [(name,) for name in (*own, *others)][:MAX_DECODED]
        larger = itertools.chain(*(itertools.combinations(own, size) for size in range(2, len(own) + 1)))
        for gone in itertools.chain(single, itertools.islice(larger, MAX_DECODED)):
            words = without(self.words, gone)
            if words is None:
                continue
            changed, name = self._renamed(words)
            if changed:
                listed = " and ".join(f'"{one}"' for one in gone)
                return self._change("remove", len(gone), words, self.settings, name, f"Without {listed}")
        return None

    def addition(self) -> Counterfactual | None:
        """Adds a known synonym as another name of one of the other classes."""
        if self.winner >= len(self.words) or self.query < 0:
            return None
        offered = [
            (index, name)
            for index, entry in enumerate(self.words.classes)
            if index != self.winner
            for name in synonyms(entry.names, self.words.words)
        ]
        logit = self._logits([name for _, name in offered] + list(self.words.classes[self.winner].names))
        least = max(logit[name] for name in self.words.classes[self.winner].names) - MAX_LOGIT_GAP
        offered = sorted((one for one in offered if logit[one[1]] >= least), key=lambda one: -logit[one[1]])
        for index, name in offered[:MAX_DECODED]:
            classes = list(self.words.classes)
            classes[index] = WordClass((*classes[index].names, name), classes[index].is_thing)
            words = Vocabulary(tuple(classes))
            changed, called = self._renamed(words)
            if changed:
                text = f'With "{name}" as another name of "{classes[index].label}"'
                return self._change("add", 1, words, self.settings, called, text)
        return None

    def _by_score(self, names: Iterable[str]) -> list[str]:
        """Names sorted by the logit of the segment's kernel, highest first."""
        logit = self._logits(names) if self.query >= 0 else {}
        return sorted(names, key=lambda name: -logit.get(name, 0.0))

    def _logits(self, names: Iterable[str]) -> dict[str, float]:
        """Logit of each name for the segment's kernel: both classifiers mixed by alpha or by beta, the larger one."""
        names = list(dict.fromkeys(names))
        text = Vocabulary(tuple(WordClass((name,), True) for name in names))
        rows = self.predictor.text_embeddings(text).embeddings.float().cpu().numpy()
        kernels, rule = Kernels.of(self.predictor, self.decoded), self.settings.applied(self.predictor.config)
        inside, outside = (
            scale * points[self.query] @ rows.T
            for scale, points in zip(kernels.scales, (kernels.trained, kernels.frozen), strict=True)
        )
        weights = [w * float(kernels.valid[self.query]) for w in (rule.alpha, rule.beta)]
        best = np.maximum(*((1 - w) * inside + w * outside for w in weights))
        return dict(zip(names, best.tolist(), strict=True))

    # Settings.

    def setting_change(self, setting: str) -> Counterfactual | None:
        """The smallest change of one setting to a multiple of 0.01; its current value need not be one."""
        now = getattr(self.settings.applied(self.predictor.config), setting)
        if now is None:  # there is no current value to start from
            return None
        steps = sorted((step / STEPS for step in range(STEPS + 1)), key=lambda value: (abs(value - now), value))
        for value in steps:
            if value == now:
                continue
            changed: dict[str, Any] = {setting: value}
            settings = replace(self.settings, **changed)
            name = self._names_by_value(settings)
            if name != self.name:
                text = f"If {SEARCHED_SETTINGS[setting]} were {value:.2f} (now {now:.2f})"
                return self._change(setting, round(abs(value - now), 4), self.words, settings, name, text)
        return None

    @cached_property
    def _names_by_value(self) -> Callable[[Settings], str | None]:
        """Function from settings to the segment's name; settings that must give the same name share a result."""
        outcomes = _OutcomeKeys(self.predictor, self.decoded, self.mask, self.settings.applied(self.predictor.config))
        known: dict[Hashable, str | None] = {outcomes(self.settings): self.name}

        def name_of(settings: Settings) -> str | None:
            key = outcomes(settings)
            if key not in known:
                known[key] = name_under(self._result(self.decoded, self.words, settings), self.mask)
            return known[key]

        return name_of

    def _change(
        self, kind: str, size: float, words: Vocabulary, settings: Settings, name: str | None, text: str
    ) -> Counterfactual:
        outcome = "it would have no name" if name is None else f'it would be "{name}"'
        return Counterfactual(kind, size, words, settings, name, f"{text}, {outcome}.")


def name_under(result: Result, mask: np.ndarray) -> str | None:
    """The label that covers most pixels of `mask` (H, W) bool in a result; None if most have no label."""
    counts = np.bincount(result.segment_map[mask])
    areas: dict[str | None, int] = {None: int(counts[0])} if len(counts) else {None: 0}
    for segment in result.segments:
        if segment.id < len(counts):
            areas[segment.label] = areas.get(segment.label, 0) + int(counts[segment.id])
    return max(areas, key=lambda name: (areas[name], name is not None))


def without(words: Vocabulary, gone: Iterable[str]) -> Vocabulary | None:
    """The list without some names and without classes that have no name left; None if no class is left."""
    away = set(gone)

    def kept() -> Iterator[WordClass]:
        for entry in words.classes:
            names = tuple(name for name in entry.names if name not in away)
            if names:
                yield WordClass(names, entry.is_thing)

    classes = tuple(kept())
    return Vocabulary(classes) if classes else None


class _OutcomeKeys:
    """Maps settings to a key that determines a segment's name. In panoptic results of "best-first", the key is the set
    of accepted kernels, with their classes, that may overlap the segment's mask (H, W) bool; else it is all settings.
    """

    def __init__(self, predictor: "Segmenter", decoded: "Decoded", mask: np.ndarray, rule: ModelConfig) -> None:
        self.predictor, self.decoded = predictor, decoded
        everyone = torch.arange(predictor.config.queries, device=predictor.device)
        self.cells = mask_cells(decoded.masks, everyone, rule.mask_threshold)
        probability = decoded.masks.cells(everyone).cpu().numpy()
        height, width = probability.shape[1:]
        near = probability[:, on_grid(mask, decoded)[:height, :width]]
        # Half the threshold, because edge alignment can move a mask a little.
        self.near = near.max(axis=1, initial=0) > rule.pixel_threshold / 2

    def __call__(self, settings: Settings) -> Hashable:
        """The key; equal for settings with which the segment must have the same name."""
        rule = settings.applied(self.predictor.config)
        if settings.task != "panoptic" or rule.composition != "best-first":
            return repr(settings)
        scores = self.predictor.log_probabilities(
            self.decoded, alpha=rule.alpha, beta=rule.beta, ensemble=rule.ensemble
        )
        thresholds = (rule.score_threshold, rule.void_threshold, rule.large_score_factor)
        order, _, labels = acceptance_order(scores, self.cells, *thresholds)
        found = uncovered(order, self.cells.inside, self.cells.areas, rule.overlap_threshold)
        classes = labels.tolist()
        return frozenset((place, classes[place]) for place in found if self.near[place])
