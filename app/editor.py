"""The words as a table for app/editor.js, and which words an English text encoder cannot read."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from eovseg.colours import class_colour
from eovseg.vocabulary import Vocabulary
from eovseg.word import Word

MAX_ROWS = 300


def table_value(words: str, by_example: Mapping[str, Word] | None = None) -> dict[str, Any]:
    """The classes of `words` as rows: names, synonyms that are added, whether it is a thing, the first name's colour.

    Words by example are named as in the text. `more` counts the classes beyond `MAX_ROWS` and `rest` is their text,
    which the table does not change. Empty words give no rows. Raises `VocabularyError` for words that cannot be used.
    """
    if not words.strip(" ;,\r\n\t"):
        return {"rows": [], "more": 0, "rest": ""}
    vocabulary = Vocabulary.parse(words, by_example)
    classes, used = vocabulary.classes, vocabulary.with_synonyms().classes
    rows = [
        {
            "names": list(entry.references),
            "added": list(wider.names[len(entry.names) :]),
            "thing": entry.is_thing,
            "colour": "#" + bytes(class_colour(entry.label)).hex(),
        }
        for entry, wider in zip(classes[:MAX_ROWS], used, strict=False)
    ]
    rest = Vocabulary(classes[MAX_ROWS:]).to_text() if len(classes) > MAX_ROWS else ""
    return {"rows": rows, "more": len(classes) - len(rows), "rest": rest}


def non_ascii_words(words: Sequence[str]) -> list[str]:
    """The words with non-ASCII letters, which an English text encoder splits into pieces and matches by chance."""
    return [
        word for word in words if any(ord(letter) > 127 and unicodedata.category(letter)[0] in "LM" for letter in word)
    ]


def with_reference(text: str, reference: str) -> str:
    """The words with `reference` appended, unless they already contain it."""
    text = text if isinstance(text, str) else ""
    if any(reference.casefold() == item.casefold() for item in items(text)):
        return text
    return f"{text.strip().rstrip(';').rstrip()}; {reference}" if text.strip(" ;\n") else reference


def without_reference(text: str, reference: str) -> str:
    """The words without `reference`, which is a class of its own or a synonym in another class."""
    text = text if isinstance(text, str) else ""
    named = re.compile(rf"(?<![^,;\n])\s*{re.escape(reference)}\s*(:\s*(thing|stuff)\s*)?(?=[,;\n]|$)", re.IGNORECASE)
    kept = [piece for piece in (named.sub("", piece).strip(" ,") for piece in re.split(r"[;\n]", text)) if piece]
    return "; ".join(kept) if len(items(text)) > 0 and named.search(text) else text


def items(text: str) -> list[str]:
    """The names in words as they are typed, without their kind."""
    return [
        re.sub(r":\s*(thing|stuff)\s*$", "", item.strip(), flags=re.IGNORECASE) for item in re.split(r"[;,\n]", text)
    ]
