"""Counterfactuals: every proposal is verified, and an exhaustive search finds no smaller change."""

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eovseg.advice.counterfactuals import SEARCHED_SETTINGS, Counterfactual, name_under, without
from eovseg.advice.nouns import synonyms
from eovseg.assets import asset_path
from eovseg.errors import ConfigError
from eovseg.result import Result
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary, WordClass

if TYPE_CHECKING:
    from eovseg.predictor import Predictor

PHOTO = asset_path("photos/bus-street.jpg")
WORDS = Vocabulary.parse("bus, coach; truck; sky; plant")
PLAIN = Settings(edges=False)


@pytest.fixture(scope="module")
def result(xs: "Predictor") -> Result:
    return xs(PHOTO, WORDS, settings=PLAIN)


def test_a_list_without_names() -> None:
    assert without(WORDS, ["coach", "sky"]) == Vocabulary.parse("bus; truck; plant")
    assert without(Vocabulary.parse("sky"), ["sky"]) is None


def test_an_unknown_segment_is_refused(xs: "Predictor") -> None:
    with pytest.raises(ConfigError, match="no segment 99"):
        xs.counterfactuals(PHOTO, WORDS, 99, settings=PLAIN)


def test_changes_are_verified_and_minimal(xs: "Predictor", result: Result) -> None:
    place = next(i for i, segment in enumerate(result.segments) if segment.label in ("bus", "truck"))
    mask, name = result.mask(place), result.segments[place].label
    found = {c.kind: c for c in xs.counterfactuals(PHOTO, WORDS, result.segments[place].id, settings=PLAIN)}
    assert {"remove", "score_threshold"} <= found.keys()
    for change in found.values():
        replayed = xs(PHOTO, change.words, settings=change.settings)
        assert name_under(replayed, mask) == change.name != name
    check_settings(xs, found, mask, name)
    check_words(xs, found, mask, name)


def check_settings(xs: "Predictor", found: dict[str, Counterfactual], mask: np.ndarray, name: str) -> None:
    """No smaller change of a setting renames the segment; if none was found, none does."""
    decoded = xs.decode(xs.encode_image(PHOTO), WORDS)
    for setting in SEARCHED_SETTINGS:
        now = getattr(PLAIN.applied(xs.config), setting)
        largest = found[setting].size if setting in found else 2
        nearer = [v for v in np.arange(101) / 100 if 0 < round(abs(v - now), 4) < largest]
        for value in nearer if setting in found else nearer[::10]:
            other = xs.compose(decoded, settings=replace(PLAIN, **{setting: float(value)}))
            assert name_under(other, mask) == name, (setting, value)


def check_words(xs: "Predictor", found: dict[str, Counterfactual], mask: np.ndarray, name: str) -> None:
    """No smaller set of names renames the segment, nor does any single synonym if none was found."""
    for size in range(1, int(found["remove"].size)):
        for gone in itertools.combinations(WORDS.words, size):
            fewer = without(WORDS, gone)
            assert fewer is not None and name_under(xs(PHOTO, fewer, settings=PLAIN), mask) == name, gone
    if "add" in found:
        return
    for index, entry in enumerate(WORDS.classes):
        for word in synonyms(entry.names, WORDS.words) if entry.label != name else ():
            classes = list(WORDS.classes)
            classes[index] = WordClass((*entry.names, word), entry.is_thing)
            assert name_under(xs(PHOTO, Vocabulary(tuple(classes)), settings=PLAIN), mask) == name, word
