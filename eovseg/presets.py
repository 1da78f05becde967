"""The shipped word lists: presets, and what they say about a word, i.e. thing or stuff, and synonyms."""

import difflib
import re
from collections.abc import Sequence
from functools import cache

from eovseg.assets import asset_path
from eovseg.word_lists import WordList, folded, quote, read_json, read_text

TRAINING_PRESET = "coco-panoptic-133"
# If a class does not specify thing or stuff, the first preset that contains one of its words decides, otherwise one of
# their synonyms; the default is thing.
THING_SOURCES = (TRAINING_PRESET, "ade20k-150", "cityscapes-19")


@cache
def preset_names() -> tuple[str, ...]:
    """Names of the shipped vocabularies, sorted."""
    return tuple(sorted(path.stem for path in asset_path("vocabularies").glob("*.json")))


def is_preset(value: object) -> bool:
    """Whether `value` is the name of a preset, ignoring case and surrounding blanks."""
    return isinstance(value, str) and value.strip().lower() in preset_names()


@cache
def preset_list(name: str) -> WordList:
    """The classes of the preset `name`, one of `preset_names()`."""
    path = asset_path(f"vocabularies/{name}.json")
    return read_json(path.read_text(encoding="utf-8"), path.name)


def like_preset(listed: WordList) -> list[str]:
    """A sentence if the only word resembles the name of a preset or its beginning ("coco", "ade20k")."""
    words = [name for names, _ in listed.classes for name in names]
    if len(words) != 1 or len(words[0]) > 2 * max(map(len, preset_names())):
        return []
    presets: dict[str, list[str]] = {}
    for preset in preset_names():
        parts = preset.split("-")
        for count in range(1, len(parts) + 1):
            presets.setdefault("-".join(parts[:count]), []).append(preset)
    close = difflib.get_close_matches(re.sub(r"[\s_]+", "-", words[0].lower()), presets, n=1, cutoff=0.85)
    meant = " or ".join(map(quote, presets[close[0]])) if close else ""
    return [f"{quote(words[0])} is used as a word; did you mean the preset {meant}?"] if close else []


def is_thing(names: Sequence[str]) -> bool:
    """Whether a class with these names is a thing, by `THING_SOURCES`."""
    keys = [folded(name) for name in names]
    others = [folded(name) for key in keys for name in synonyms().get(key, ())]
    for known in (keys, others):
        for source in _kinds():
            for key in known:
                if key in source:
                    return source[key]
    return True


@cache
def _kinds() -> tuple[dict[str, bool], ...]:
    """For each of `THING_SOURCES`, whether each of its words is a thing."""
    lists = [preset_list(name).classes for name in THING_SOURCES]
    return tuple({folded(word): bool(kind) for words, kind in classes for word in words} for classes in lists)


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Names that mean the same as a word or a kind of it, by that word in lower case.

    Singular and plural of one noun are not both among them: they add nothing, but compete with each other in VAS.
    """
    known: dict[str, list[str]] = {}
    for names, _ in preset_list(TRAINING_PRESET).classes:
        known |= {name: names for name in names if _same_noun(name, names[0])}
    for names, _ in read_text(asset_path("vocabularies/synonyms.txt").read_text(encoding="utf-8")).classes:
        known[names[0]] = [*names, *known.get(names[0], ())]
    return {word: _distinct(word, names) for word, names in known.items()}


def _distinct(word: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names that are other nouns than `word` and than the names before them."""
    kept = [word]
    for name in names:
        if not any(_same_noun(name, other) for other in kept):
            kept.append(name)
    return tuple(kept[1:])


def _same_noun(one: str, other: str) -> bool:
    """Whether two names are equal or the singular and plural of one noun; irregular plurals count as other nouns."""
    short, long = sorted((one, other), key=len)
    return long in (short, f"{short}s", f"{short}es", f"{short[:-1]}ies")
