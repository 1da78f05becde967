"""Reads word lists in the text form and in the JSON of the presets.

Text form: `person, people: thing; sky: stuff; car` with `;` or a new line between classes, `,` between the
synonyms of one class, and an optional `: thing` or `: stuff` at a class's end. The notations of other programs are
converted (`eovseg.notation`). Nothing is dropped or guessed silently: notes report skipped, duplicate and ambiguous
input.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eovseg.errors import VocabularyError
from eovseg.notation import INVALID, MARKS, ambiguities, clean, plain_lines, unquoted, without_prefixes

MAX_WORDS = 20_000
MAX_WORD_CHARACTERS = 200
SEPARATORS = re.compile(r"[,;\n]")
_SUFFIX = re.compile(r"(?P<words>.*):\s*(?P<kind>thing|stuff)\s*", re.IGNORECASE)

# Names of one class; True for thing, False for stuff, None if unspecified.
Entry = tuple[list[str], bool | None]


@dataclass(frozen=True)
class WordList:
    """The classes of a list, each with normalised, distinct names, and sentences about its input."""

    classes: list[Entry]
    notes: list[str]


def read_text(text: str, name_alone: bool = False) -> WordList:
    """Reads the text form; `name_alone` as in `notation.table`. Raises `VocabularyError` for too many words."""
    text, cleaned = clean(text)
    entries: list[Entry] = []
    notes, blanks = [], 0
    for line in filter(str.strip, (line.text for line in plain_lines(text, name_alone))):
        pieces = line.split(";")
        if not pieces[-1].strip():
            pieces.pop()  # a trailing semicolon does not start a class
        for piece in pieces:
            if not piece.strip():
                blanks += 1
                continue
            whole = unquoted(piece)
            suffix = _SUFFIX.fullmatch(whole)
            kind = suffix["kind"].lower() == "thing" if suffix else None
            names = (suffix["words"] if suffix else whole).split(",")
            bare = [unquoted(name) for name in names]
            if whole != piece.strip() or bare != [name.strip() for name in names]:
                notes.append("Quotation marks around words were removed.")
            entries.append((bare, kind))
    check_count(names for names, _ in entries)
    _drop_prefixes(entries)
    if any(names == [INVALID] for names, _ in entries):
        notes.append(f'The class "{INVALID}" means unlabelled pixels and was skipped.')
        entries = [entry for entry in entries if entry[0] != [INVALID]]
    classes, repeated = _distinct(entries)
    notes = [*dict.fromkeys(notes), *ambiguities(classes), *repeated]
    return WordList(classes, [*_dropped(entries, cleaned, blanks), *notes])


def read_json(text: str, file_name: str) -> WordList:
    """Reads the text of a preset file: `{"classes": [{"names": [...], "isthing": true | false | null}]}`.

    In a COCO file, the classes are its `categories`. Raises `VocabularyError` naming the file for other text, and for
    too many words.
    """
    expected = f'The vocabulary file {quote(file_name)} must contain {{"classes": [{{"names": [...], "isthing": …}}]}} '
    expected += "or the categories of a COCO file"
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VocabularyError(f"{expected}, but it is not valid JSON.") from error
    items = document.get("classes") if isinstance(document, dict) else None
    if items is None and isinstance(document, dict) and isinstance(document.get("categories"), list):
        items = [_class_of_category(item) for item in document["categories"]]
    if not isinstance(items, list):
        raise VocabularyError(f"{expected}.")
    entries: list[Entry] = []
    for number, item in enumerate(items):
        names = item.get("names") if isinstance(item, dict) else None
        kind = item.get("isthing") if isinstance(item, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise VocabularyError(f"{expected}; class number {number} has no list of names.")
        if not (kind is None or isinstance(kind, bool)):
            raise VocabularyError(f"{expected}; isthing of class number {number} is not true, false or null.")
        entries.append((names, kind))
    check_count(names for names, _ in entries)
    classes, repeated = _distinct(entries)
    return WordList(classes, [*_dropped(entries), *repeated])


def _class_of_category(item: Any) -> Any:
    """A COCO category in the form of a preset; without `isthing` (0 or 1), as in COCO instances, it is a thing."""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return item
    kind = item.get("isthing", 1)
    return {"names": item["name"].translate(MARKS).split(","), "isthing": bool(kind) if kind in (0, 1) else kind}


def _drop_prefixes(entries: Sequence[Entry]) -> None:
    """Removes numbers or bullets from the first name of every class, in place, if all classes have one.

    Does nothing if a name is too long, which is an error anyway, because each pass removes only one prefix.
    """
    named = [(names, place) for names, _ in entries if (place := next(_filled(names), None)) is not None]
    first = [tidy(names[place]) for names, place in named]
    if max(map(len, first), default=0) > MAX_WORD_CHARACTERS:
        return
    while bare := without_prefixes(first):
        first = [line.text for line in bare]
    for (names, place), name in zip(named, first, strict=True):
        names[place] = name


def _filled(names: Sequence[str]) -> Iterator[int]:
    """Indices of the names that are not blank."""
    return (place for place, name in enumerate(names) if tidy(name))


def _distinct(entries: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
    """The classes that have a name, without blank and duplicate names, and a sentence per class with duplicates."""
    classes, notes = [], []
    for raw, kind in entries:
        filled = [name for name in map(tidy, raw) if name]
        if not filled:
            continue
        distinct: dict[str, str] = {}
        for name in filled:
            distinct.setdefault(folded(name), name)
        classes.append((list(distinct.values()), kind))
        if len(distinct) < len(filled):
            counts = Counter(map(folded, filled))
            repeated = ", ".join(quote(name) for one, name in distinct.items() if counts[one] > 1)
            notes.append(f"In the class {quote(filled[0])}, the duplicate {repeated} was removed.")
    return classes, notes


def _dropped(entries: Sequence[Entry], cleaned: bool = False, blanks: int = 0) -> Iterator[str]:
    """Sentences about control characters and blank entries; `cleaned` and `blanks` are those found before."""
    if cleaned or any(clean(name)[1] for names, _ in entries for name in names):
        yield "Control characters were removed from the words."
    for names, _ in entries:
        filled = len(list(_filled(names)))
        blanks += len(names) - filled if filled else 1
    if blanks:
        yield "One blank entry was skipped." if blanks == 1 else f"{blanks:,} blank entries were skipped."


def tidy(word: str) -> str:
    """A normalised word: cleaned, stripped, with single spaces."""
    return " ".join(clean(word)[0].split())


def check_count(classes: Iterable[Sequence[str]]) -> None:
    """Raises `VocabularyError` for too many names; called before any slow processing."""
    count = sum(bool(name.strip()) for names in classes for name in names)
    if count > MAX_WORDS:
        raise VocabularyError(f"The vocabulary has {count:,} words; at most {MAX_WORDS:,} are allowed.")


def check_word(word: str) -> None:
    """Raises `VocabularyError` unless `word` is normalised, not too long and without separators."""
    if len(word) > MAX_WORD_CHARACTERS:
        raise VocabularyError(
            f"A word may have at most {MAX_WORD_CHARACTERS} characters, but {quote(word)} has {len(word):,}."
        )
    if SEPARATORS.search(word):
        raise VocabularyError(f"The word {quote(word)} contains a comma, semicolon or line end, which separate words.")
    if not word or word != tidy(word):
        raise VocabularyError(f"The word {quote(word)} is blank or has surrounding spaces or control characters.")


def folded(word: str) -> str:
    """Key for case-insensitive comparison."""
    return unicodedata.normalize("NFC", word).casefold()


def quote(text: str) -> str:
    """`text` in quotation marks for a message, shortened to 40 characters and without line breaks."""
    text = " ".join(text.split())
    return f'"{text if len(text) <= 40 else text[:39] + "…"}"'
