"""A data set's class list: maps the data set's class ids to the classes of a vocabulary."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from eovseg.assets import asset_path
from eovseg.data.entries import Entry
from eovseg.errors import DataError, VocabularyError
from eovseg.notation import MARKS
from eovseg.vocabulary import Vocabulary, WordClass

_LONGEST_NAMES = 10_000  # characters, synonyms included


@dataclass(frozen=True)
class Category:
    """One class of a source, with the source's own id."""

    id: int
    name: str
    is_thing: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The comma-separated names, normalised and without duplicates."""
        parts = self.name.translate(MARKS).split(",")
        return tuple(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))

    @classmethod
    def read(cls, entry: Entry, is_thing: bool | None = None) -> "Category":
        """The category described by a JSON object; `is_thing` is the default for formats without `isthing`.

        Raises `DataError` for invalid values.
        """
        return cls(entry.integer("id"), entry.text("name", _LONGEST_NAMES), entry.flag("isthing", is_thing))

    def as_class(self, path: Path) -> WordClass:
        """This category as a vocabulary class; raises `DataError`, naming `path` and the category, if it is invalid."""
        try:
            return Vocabulary((WordClass(self.names, self.is_thing),)).classes[0]
        except VocabularyError as error:
            raise DataError(f'{path}: category {self.id} has the name "{self.name[:60]}". {error}') from error


@dataclass(frozen=True)
class ClassTable:
    """The classes of `vocabulary` in order, with the data set's id of each in `ids`."""

    vocabulary: Vocabulary
    ids: tuple[int, ...]

    @classmethod
    def preset(cls, name: str) -> "ClassTable":
        """The table of a shipped vocabulary; a class without a data set id uses its position."""
        document = json.loads(asset_path(f"vocabularies/{name}.json").read_text(encoding="utf-8"))
        numbers = (entry["id"] if entry["dataset_id"] is None else entry["dataset_id"] for entry in document["classes"])
        return cls(Vocabulary.preset(name), tuple(numbers))

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "ClassTable":
        """The table of a custom vocabulary: each class's id is its position."""
        return cls(vocabulary, tuple(range(len(vocabulary))))

    @classmethod
    def of_categories(cls, categories: Mapping[int, Category], path: Path) -> "ClassTable":
        """The table of the category list read from `path`; commas separate the names of one class."""
        if not categories:
            raise DataError(f"{path} lists no categories.")
        classes = tuple(category.as_class(path) for category in categories.values())
        try:
            return cls(Vocabulary(classes), tuple(categories))
        except VocabularyError as error:
            raise DataError(f"{path}: {error}") from error

    @cached_property
    def categories(self) -> dict[int, Category]:
        """The classes by data set id, named by their labels."""
        classes = zip(self.ids, self.vocabulary.classes, strict=True)
        return {number: Category(number, word_class.label, word_class.is_thing) for number, word_class in classes}

    @cached_property
    def class_index(self) -> dict[int, int]:
        """Position in the vocabulary by data set id."""
        return {number: index for index, number in enumerate(self.ids)}

    def foreign(self, categories: Mapping[int, Category]) -> list[Category]:
        """The `categories` whose name has no word in common with any name of the class with the same id here."""
        found = []
        for category in categories.values():
            known = (
                self.vocabulary.classes[self.class_index[category.id]].names if category.id in self.class_index else ()
            )
            if known and _words(category.name).isdisjoint(_words(" ".join(known))):
                found.append(category)
        return found

    def only(self, numbers: set[int]) -> dict[int, Category]:
        """The categories with these ids."""
        return {number: category for number, category in self.categories.items() if number in numbers}


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", name.lower()))
