"""A data set's class list: which number of the data set is which class of a vocabulary."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from eovseg.assets import asset_path
from eovseg.vocabulary import Vocabulary, WordClass


@dataclass(frozen=True)
class Category:
    """One class of a source, under the source's own id."""

    id: int
    name: str
    is_thing: bool


@dataclass(frozen=True)
class ClassTable:
    """The classes of `vocabulary`, in order, with the data set's own number of each in `ids`."""

    vocabulary: Vocabulary
    ids: tuple[int, ...]

    @classmethod
    def preset(cls, name: str) -> "ClassTable":
        """The table of a shipped vocabulary; a class without a number of its own has its position."""
        document = json.loads(asset_path(f"vocabularies/{name}.json").read_text(encoding="utf-8"))
        numbers = (entry["id"] if entry["dataset_id"] is None else entry["dataset_id"] for entry in document["classes"])
        return cls(Vocabulary.preset(name), tuple(numbers))

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "ClassTable":
        """The table of own words: each class's number is its position."""
        return cls(vocabulary, tuple(range(len(vocabulary))))

    @classmethod
    def of_categories(cls, categories: Mapping[int, Category]) -> "ClassTable":
        """The table that a file's own category list makes; commas part the names of one class."""
        classes = []
        for category in categories.values():
            names = dict.fromkeys(" ".join(name.split()) for name in category.name.split(",") if name.strip())
            classes.append(WordClass(tuple(names), category.is_thing))
        return cls(Vocabulary(tuple(classes)), tuple(categories))

    @cached_property
    def categories(self) -> dict[int, Category]:
        """The classes by the data set's number, named by their labels."""
        classes = zip(self.ids, self.vocabulary.classes, strict=True)
        return {number: Category(number, word_class.label, word_class.is_thing) for number, word_class in classes}

    @cached_property
    def class_index(self) -> dict[int, int]:
        """Position in the vocabulary by the data set's number."""
        return {number: index for index, number in enumerate(self.ids)}

    def only(self, numbers: set[int]) -> dict[int, Category]:
        """The categories with these numbers."""
        return {number: category for number, category in self.categories.items() if number in numbers}
