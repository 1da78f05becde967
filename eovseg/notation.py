"""Converts unambiguous class lists in other notations to the text format of `eovseg.word_lists`.

    ['dog', 'cat'], (dog, cat), {0: 'dog', 1: 'cat'}      Python, JSON and YAML lists, one class per item
    1:person,child / 2:bicycle     or `1.` or `1)`        numbered lines, as in FC-CLIP's files
    - person / - bicycle           or `*` or `•`          bulleted lists
    id,name / 1,person             also ; or tab          a table with a header line

Ambiguous text is read by the rules of the text format, and `ambiguities` reports it.
"""

import csv
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from eovseg.errors import VocabularyError

# Full-width, ideographic and Arabic equivalents of the separators.
MARKS = str.maketrans(dict.fromkeys("；﹔︔؛", ";") | dict.fromkeys("，﹐、､﹑،", ",") | {"：": ":", "﹕": ":"})
_LINE_ENDS = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_SPACES = re.compile(r"[\v\f]")
# Removed: control characters, lone surrogates (which cannot be encoded), and invisible characters that affect
# comparison or display but not meaning. The joiners U+200C and U+200D are kept: Persian and emoji need them.
_REMOVED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
INVALID = "invalid_class_id"  # FC-CLIP's name for unlabelled pixels

_QUOTES = '"“”„«»'
_PAIRS = (("'", "'"), ("`", "`"), ("‘", "’"))
_LIST = re.compile(r"[\[({](.*)[\])}]", re.DOTALL)
# Possessive quantifiers avoid backtracking over long items that do not match.
_ITEM = re.compile(
    r"""(?:(?P<mark>["']?)(?P<key>\d{1,9}+)(?P=mark)\s*+:\s*+)?+"""
    r"""(?:'(?P<single>[^'\n;]*+)'|"(?P<double>[^"\n;]*+)"|[\[(](?P<inner>[^\[\]()\n;]*+)[\])]|(?P<bare>[^\[\](){},;'"\n]++))\s*+(?:,|$)\s*+"""
)
_NUMBER = re.compile(r"\d{1,9}")
_NUMBERED = re.compile(r"\s*(\d{1,9})\s*[:.)]\s*(?=\D)(.*)")
_BULLET = re.compile(r"\s*[-*•]\s+(.*)")
_LEADING_NUMBER = re.compile(r"^\d+(?:[.:)]\s*|\s+)(?=[^\W\d_])")
_NAME_COLUMNS = ("name", "names", "class", "class_name", "classname", "label", "category", "category_name")
_ID_COLUMNS = ("id", "idx", "index", "number", "value", "class_id", "classid", "label_id", "category_id", "dataset_id")
_KIND_COLUMNS = ("isthing", "is_thing", "thing", "stuff", "isstuff", "is_stuff", "kind")
_TRUE, _FALSE = ("1", "true", "yes", "thing"), ("0", "false", "no", "stuff")


@dataclass(frozen=True)
class Line:
    """One class in the text format, and its number in the list, if any."""

    text: str
    number: int | None = None


def clean(text: str) -> tuple[str, bool]:
    """`text` in NFC, with normalised line ends, spaces and separators and without control characters, and whether there
    were any."""
    spaced = _SPACES.sub(" ", _LINE_ENDS.sub("\n", text))
    kept = _REMOVED.sub("", spaced)
    # Normalise before splitting, because NFC turns the Greek question mark into a semicolon.
    return unicodedata.normalize("NFC", kept).translate(MARKS), len(kept) < len(spaced)


def plain_lines(text: str, name_alone: bool = False) -> list[Line]:
    """`text` as lines in the text format, converting bracketed lists and tables. `name_alone` as in `table`."""
    return bracketed(text) or table(text, name_alone) or [Line(line) for line in text.splitlines()]


def table(text: str, name_alone: bool = False) -> list[Line] | None:
    """The rows of a table with a header line, or None for other text.

    The header must contain a name column and another known one; with `name_alone`, e.g. for a .csv file, the name
    column suffices. Blank rows are skipped. Raises `VocabularyError` for a row with a missing name or an invalid number
    or kind.
    """
    rows = text.strip().splitlines()
    for mark in ",;\t":
        columns = [cell.strip().strip(_QUOTES).lower() for cell in rows[0].split(mark)] if rows else []
        name = next((columns.index(known) for known in _NAME_COLUMNS if known in columns), None)
        number = next((columns.index(known) for known in _ID_COLUMNS if known in columns), None)
        kind = next((columns.index(known) for known in _KIND_COLUMNS if known in columns), None)
        if name is not None and (name_alone or number is not None or kind is not None):
            try:
                cells = list(csv.reader(rows[1:], delimiter=mark))
            except csv.Error as error:
                raise VocabularyError(f"The class table cannot be read ({error}).") from error
            return [
                _row(row, place, columns, name, number, kind)
                for place, row in enumerate(cells, 2)
                if any(map(str.strip, row))
            ]
    return None


def _row(
    cells: Sequence[str], place: int, columns: Sequence[str], name: int, number: int | None, kind: int | None
) -> Line:
    if len(cells) != len(columns):
        raise VocabularyError(
            f"Line {place} of the class table has {len(cells)} cells, but its header has {len(columns)}. Quote names "
            "that contain a comma."
        )
    text = cells[name].translate(MARKS).replace(";", ",")
    if not text.strip(" ,"):
        raise VocabularyError(f"Line {place} of the class table has no {columns[name]}. Add one, or delete the line.")
    if kind is not None:
        said = cells[kind].strip().lower()
        if said not in _TRUE + _FALSE:
            raise VocabularyError(
                f'Line {place} of the class table has "{said[:40]}" as {columns[kind]}; write 1 or 0.'
            )
        thing = (said in _TRUE) != (columns[kind].endswith("stuff"))
        text += ": thing" if thing else ": stuff"
    if number is None:
        return Line(text)
    if not _NUMBER.fullmatch(cells[number].strip()):
        raise VocabularyError(
            f'Line {place} of the class table has "{cells[number][:40]}" as {columns[number]}; write a number of '
            "at most 9 digits."
        )
    return Line(text, int(cells[number]))


def bracketed(text: str) -> list[Line] | None:
    """The items of a bracketed list with their numeric keys, or None for other text."""
    whole = _LIST.fullmatch(text.strip())
    if not whole:
        return None
    body, place, found = whole[1].strip(), 0, []
    while place < len(body):
        item = _ITEM.match(body, place)
        if not item or item.end() == place:
            return None
        _, key, *forms = item.groups()
        found.append(Line(next(filter(None, forms), ""), None if key is None else int(key)))
        place = item.end()
    if len({line.number is None for line in found}) > 1:
        return None  # only some items have a key
    return found or None


def without_prefixes(names: Sequence[str]) -> list[Line] | None:
    """First names of classes without number or bullet; None unless each has a bullet or a unique number."""
    if len(names) < 2:
        return None
    numbered = [match for name in names if (match := _NUMBERED.fullmatch(name)) and unquoted(match[2])]
    if len(numbered) == len(names) == len({int(match[1]) for match in numbered}):
        return [Line(unquoted(match[2]), int(match[1])) for match in numbered]
    bullets = [match for name in names if (match := _BULLET.fullmatch(name)) and unquoted(match[1])]
    return [Line(unquoted(match[1])) for match in bullets] if len(bullets) == len(names) else None


def unquoted(word: str) -> str:
    """`word` without surrounding quotation marks: a single or double pair, or one unmatched double mark.

    Marks inside a word, as in `so-called "dog"`, are kept.
    """
    while True:
        bare = word.strip()
        inner = bare.strip(_QUOTES)
        if not any(mark in inner for mark in _QUOTES):
            bare = inner
        if len(bare) > 1 and (bare[0], bare[-1]) in _PAIRS and bare[0] not in bare[1:-1]:
            bare = bare[1:-1]
        if bare == word:
            return bare
        word = bare


def ambiguities(classes: Sequence[tuple[Sequence[str], bool | None]]) -> list[str]:
    """One sentence for each possible misreading of the parsed `classes` (names; thing, stuff or unspecified).

    Each sentence says how the text was read and how to write the alternative.
    """
    found = []
    names = [name for words, _ in classes for name in words]
    if len(classes) == 1 and classes[0][1] is None and len(names) > 1:
        found.append(
            f"Commas separate the names of one class, so {_listed(names)} were read as one class. "
            f'For several classes, write "{_shown("; ".join(names))}".'
        )
    inner, kind = next(
        (entry for entry in classes if len(entry[0]) > 1 and any(map(_kind_inside, entry[0]))), ((), None)
    )
    if inner:
        said = [word for word in inner if _kind_inside(word)]
        ending = "" if kind is None else ": thing" if kind else ": stuff"
        found.append(
            f'": thing" and ": stuff" must be at the end of a class, so {_listed(said)} was read as a name. '
            f'Separate classes with semicolons: "{_shown("; ".join(inner))}{ending}".'
        )
    odd = next((name for name in names if re.search(r":\s*[^\W\d]", name) and not _kind_inside(name)), None)
    if odd:
        found.append(f'Only ": thing" and ": stuff" say what a class is, so {_listed([odd])} was read as a name.')
    uncounted = [_uncounted(words) for words, _ in classes]
    if all(uncounted):
        found.append(
            f"Numbers were read as part of the words ({_listed([words[0] for words, _ in classes])}). If they only "
            f'count the classes, write "{_shown("; ".join(filter(None, uncounted)))}".'
        )
    parted = next((word for word in names if _may_be_several(word)), None)
    if parted:
        pieces = [piece.strip(" .") for piece in re.split(r"\||\.(?:\s|$)", parted) if piece.strip(" .")]
        found.append(f'{_listed([parted])} was read as one word. For several, write "{_shown("; ".join(pieces))}".')
    bracket = next(filter(is_unpaired, names), None)
    if bracket:
        found.append(f'The bracket in {_listed([bracket])} was read as part of the word. Write classes as "dog; cat".')
    return found


def is_unpaired(word: str) -> bool:
    """Whether `word` has an unmatched bracket and may thus be a fragment of a list that was not recognised."""
    return any(word.count(opening) != word.count(closing) for opening, closing in ("[]", "()", "{}"))


def _uncounted(words: Sequence[str]) -> str | None:
    """The names of a class without its leading number; None if there is none."""
    bare = _LEADING_NUMBER.sub("", words[0], count=1)
    if bare != words[0]:
        return ", ".join([bare, *words[1:]])
    return ", ".join(words[1:]) if words[0].isdecimal() and len(words) > 1 else None


def _may_be_several(word: str) -> bool:
    """Whether a word may be several: "dog | cat", or "dog . cat ." and "dog. cat." as in prompts for detectors."""
    return "|" in word or " . " in f"{word} " or (word.endswith(".") and ". " in word)


def _kind_inside(word: str) -> bool:
    return bool(re.search(r":\s*(thing|stuff)\b", word, re.IGNORECASE))


def _listed(words: Sequence[str]) -> str:
    quoted = ", ".join(f'"{_shown(word, 40)}"' for word in words[:4])
    return quoted + (", …" if len(words) > 4 else "")


def _shown(text: str, length: int = 100) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
