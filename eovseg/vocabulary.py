"""Open vocabularies: words, synonyms, thing or stuff, and the class lists of benchmarks as presets.

`eovseg.word_lists` describes how a list is written. A name that ends in `.word` is a word by example (`eovseg.word`).
`Vocabulary.notes` reports skipped, duplicate and ambiguous input.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, reduce
from operator import add
from pathlib import Path

import numpy as np

from eovseg.assets import asset_path
from eovseg.errors import VocabularyError
from eovseg.notation import MARKS, table
from eovseg.word import Word, names_word
from eovseg.word_lists import SEPARATORS, WordList, check_count, check_word, folded, quote, read_json, read_text, tidy

MAX_FILE_BYTES = 32_000_000
_LISTED = 8  # maximum number of classes listed in a note
TRAINING_PRESET = "coco-panoptic-133"
CLASS_FILES = (".txt", ".json", ".csv")
# A single word with one of these extensions is a file, so a missing or unsupported file does not become a class.
_FILE_ENDINGS = (*CLASS_FILES, ".tsv", ".names", ".yaml", ".yml", ".xml", ".xlsx")
# If a class does not specify thing or stuff, the first preset that contains one of its words decides; the default is
# thing.
THING_SOURCES = (TRAINING_PRESET, "ade20k-150", "cityscapes-19")

# Maps the name of a word by example in a list to the word.
Found = Callable[[str], Word]


@dataclass(frozen=True)
class WordClass:
    """One class: its names (the first is the label, the others are synonyms) and whether it is a countable thing.

    `examples` is empty, or has an entry for each name: the word by example that stands for it, None for a typed one.
    """

    names: tuple[str, ...]
    is_thing: bool
    examples: tuple[Word | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise VocabularyError("A class of the vocabulary has no name; give at least one word.")
        if self.examples and len(self.examples) != len(self.names):
            raise VocabularyError(
                f"The class {quote(self.names[0])} has {len(self.names)} names and {len(self.examples)} entries for "
                "words by example; give one for each name, None for a typed one."
            )

    @property
    def references(self) -> tuple[str, ...]:
        """Each name as it is written in a text: a typed word itself, or the file name of a word by example."""
        by_example = self.examples or (None,) * len(self.names)
        return tuple(
            name if word is None else word.reference for name, word in zip(self.names, by_example, strict=True)
        )

    @property
    def typed_names(self) -> tuple[str, ...]:
        """The names that are typed words, not words by example."""
        by_example = self.examples or (None,) * len(self.names)
        return tuple(name for name, word in zip(self.names, by_example, strict=True) if word is None)

    @property
    def label(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class Vocabulary:
    """The K classes of a segmentation; vocabularies with equal classes are equal.

    `notes` are sentences about skipped, normalised, duplicate or ambiguous input.
    Raises `VocabularyError` if there are no classes, more than 20,000 words, or an invalid word.
    """

    classes: tuple[WordClass, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.classes:
            raise VocabularyError('The vocabulary is empty; give at least one word, e.g. "person; sky; car".')
        check_count(entry.names for entry in self.classes)
        for entry in self.classes:
            for name in entry.names:
                check_word(name)

    @classmethod
    def parse(cls, text: str, words: Mapping[str, Word] | None = None) -> "Vocabulary":
        """Parses `text` (text form of `eovseg.word_lists`) without reading files.

        `words`: the words by example that `text` may contain, by their names in it ("mug.word"), ignoring case.
        Raises `VocabularyError` for text without a word, too many words, words of more than 200 characters, and
        words by example that are not among `words`.
        """
        return _parse(text, _given_words(words or {}))

    @classmethod
    def preset(cls, name: str) -> "Vocabulary":
        """The shipped vocabulary `name`, one of `preset_names()`; raises `VocabularyError` for any other."""
        key = name.strip().lower()
        if key not in preset_names():
            raise VocabularyError(f"There is no preset {quote(name)}; choose from {', '.join(preset_names())}.")
        return _load_preset(key)

    @classmethod
    def from_file(cls, path: str | Path) -> "Vocabulary":
        """Reads a `.txt` file (text format), a `.json` file (format of the presets) or a `.csv` file, all in UTF-8.

        A `.csv` file needs a first line that names its columns: `name`, and optionally `id` and `isthing`.
        Words by example ("mug.word") are read from files beside it.
        Raises `VocabularyError` naming the file if it is missing, unreadable or in another format.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in CLASS_FILES:
            raise VocabularyError(f"The vocabulary file {quote(path.name)} must end in .txt, .json or .csv.")
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise VocabularyError(
                    f"The vocabulary file {quote(path.name)} is larger than {MAX_FILE_BYTES // 1_000_000} MB."
                )
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise VocabularyError(f"The vocabulary file {quote(path.name)} is not UTF-8 text.") from error
        except (OSError, ValueError) as error:  # ValueError: a file name with a NUL character
            reason = getattr(error, "strerror", None) or str(error)
            raise VocabularyError(f'The vocabulary file "{path}" cannot be read ({reason}).') from error
        if kind == ".json":
            return _build(read_json(text, path.name), _word_files(path.parent))
        if kind == ".csv" and table(text, name_alone=True) is None:
            raise VocabularyError(
                f'The vocabulary file {quote(path.name)} has no header line; add one, e.g. "id,name".'
            )
        return _parse(text, _word_files(path.parent), name_alone=kind == ".csv")

    @classmethod
    def read(cls, value: str) -> "Vocabulary":
        """Interprets text from the command line or the API: a class file, the name of a preset, or words.

        A single word is a file if it has the extension of one (".txt", ".json", ".csv", ...), so a mistyped path is not
        taken for a word, or if it is the path of a file with its folder ("./dog"; the file "dog" is not enough).
        A word that ends in ".word" is the file of a word by example.
        Raises `VocabularyError` as `from_file` and `parse` do.
        """
        if _names_file(value):
            return cls.from_file(value)
        key = value.strip().lower()
        if key in preset_names():
            return cls.preset(key)
        return _parse(value, _word_files(Path()))

    @classmethod
    def coerce(cls, value: "Words") -> "Vocabulary":
        """Converts a string (see `read`), a word by example, or a list of these; returns a vocabulary as is."""
        if isinstance(value, Vocabulary):
            return value
        if isinstance(value, str):
            return cls.read(value)
        if isinstance(value, Word):
            return cls((WordClass((value.name,), value.is_thing, (value,)),))
        if isinstance(value, list | tuple) and value:
            return reduce(add, map(cls.coerce, value))
        raise VocabularyError(
            'A vocabulary must be text such as "person; sky", the name of a preset or file, a Vocabulary, a Word or a '
            f"list of these, not {'an empty list' if value == [] else type(value).__name__}."
        )

    def __len__(self) -> int:
        return len(self.classes)

    def __add__(self, other: "Words") -> "Vocabulary":
        """This vocabulary's classes, then the other's; words in both are kept and noted."""
        if not isinstance(other, Vocabulary | str | Word | list | tuple):
            return NotImplemented
        added = Vocabulary.coerce(other)
        classes = self.classes + added.classes
        notes = dict.fromkeys((*self.notes, *added.notes, *_shared_words(classes)))
        return Vocabulary(classes, tuple(notes))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The K labels, i.e. first names. Labels may repeat (ADE20K-847 has two classes "bag")."""
        return tuple(entry.label for entry in self.classes)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All N names in order, one per text embedding."""
        return tuple(name for entry in self.classes for name in entry.names)

    @cached_property
    def examples(self) -> dict[int, Word]:
        """The words by example among `words`, by their index."""
        listed = (word for entry in self.classes for word in (entry.examples or (None,) * len(entry.names)))
        return {place: word for place, word in enumerate(listed) if word is not None}

    @cached_property
    def class_of_word(self) -> np.ndarray:
        """(N,) int64, the class index of each word."""
        counts = [len(entry.names) for entry in self.classes]
        return _read_only(np.repeat(np.arange(len(counts), dtype=np.int64), counts))

    @cached_property
    def is_thing(self) -> np.ndarray:
        """(K,) bool, True for things."""
        return _read_only(np.array([entry.is_thing for entry in self.classes], dtype=bool))

    def seen(self, training_words: Collection[str]) -> np.ndarray:
        """(K,) bool: a class is seen if one of its names is a training word, ignoring case.

        Words by example never count as training words.
        """
        known = {folded(word) for word in training_words}
        return np.array(
            [any(folded(name) in known for name in entry.typed_names) for entry in self.classes], dtype=bool
        )

    def to_text(self) -> str:
        """The text form; `parse`, with the same words by example, turns it into an equal vocabulary."""
        return "; ".join(
            f"{', '.join(entry.references)}: {'thing' if entry.is_thing else 'stuff'}" for entry in self.classes
        )


# The types that functions accept as a vocabulary.
Words = Vocabulary | Word | str | Sequence[Vocabulary | Word | str]


@cache
def preset_names() -> tuple[str, ...]:
    """Names of the shipped vocabularies, sorted."""
    return tuple(sorted(path.stem for path in asset_path("vocabularies").glob("*.json")))


def coco_training_words() -> tuple[str, ...]:
    """COCO's 254 names: the training vocabulary of the published S, M and L checkpoints."""
    return _load_preset(TRAINING_PRESET).words


@cache
def _load_preset(name: str) -> Vocabulary:
    return _build(_preset_list(name), _given_words({}))


@cache
def _preset_list(name: str) -> WordList:
    path = asset_path(f"vocabularies/{name}.json")
    return read_json(path.read_text(encoding="utf-8"), path.name)


def _names_file(value: str) -> bool:
    """Whether `value` is the name of a file, see `Vocabulary.read`."""
    name = value.strip()
    if not name or SEPARATORS.search(name.translate(MARKS)):
        return False
    if name.lower().endswith(_FILE_ENDINGS):
        return True
    path = Path(name)
    try:
        return path.is_file() and (path.is_absolute() or len(path.parts) > 1 or name.startswith(("./", ".\\")))
    except (OSError, ValueError):  # too long for a file name
        return False


def _word_files(folder: Path) -> Found:
    """Loads words by example from files in `folder`."""
    return lambda name: Word.load(folder / name, name)


def _given_words(words: Mapping[str, Word]) -> Found:
    """Finds words by example among those given."""
    known = {folded(name): word for name, word in words.items()}

    def found(name: str) -> Word:
        if folded(name) not in known:
            listed = ", ".join(list(words)[:_LISTED]) or "none"
            raise VocabularyError(
                f"The word by example {quote(name)} is not loaded (loaded: {listed}); load its file first."
            )
        return known[folded(name)].called(name)

    return found


def checked_name(name: str) -> str:
    """`name` as a normalised word; raises `VocabularyError` if it cannot be a word."""
    word = tidy(name)
    check_word(word)
    if names_word(word):
        raise VocabularyError(f"The name {quote(word)} ends like the file of a word by example; omit the ending.")
    return word


def _parse(text: str, found: Found, name_alone: bool = False) -> Vocabulary:
    """`Vocabulary.parse`; `name_alone` as in `notation.table`."""
    listed = read_text(text, name_alone)
    return _build(WordList(listed.classes, [*listed.notes, *_like_preset(listed)]), found)


def _like_preset(listed: WordList) -> list[str]:
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


def _build(listed: WordList, found: Found) -> Vocabulary:
    """The vocabulary of a list; `found` finds words by example."""
    classes = tuple(_class_of(tuple(names), is_thing, found) for names, is_thing in listed.classes)
    return Vocabulary(classes, (*listed.notes, *_shared_words(classes)))


def _class_of(names: tuple[str, ...], is_thing: bool | None, found: Found) -> WordClass:
    """A class of normalised names, some of which may be words by example; these set the kind if `is_thing` is None."""
    words = tuple(found(name) if names_word(name) else None for name in names)
    kinds = [word.is_thing for word in words if word is not None]
    if not kinds:
        return WordClass(names, _default_is_thing(names) if is_thing is None else is_thing)
    shown = tuple(name if word is None else word.name for name, word in zip(names, words, strict=True))
    return WordClass(shown, kinds[0] if is_thing is None else is_thing, words)


def _shared_words(classes: Sequence[WordClass]) -> list[str]:
    """One sentence per word that is in several classes; all are kept."""
    owners: dict[str, list[int]] = {}
    spelling: dict[str, str] = {}
    for index, entry in enumerate(classes):
        for name in entry.names:
            owners.setdefault(folded(name), []).append(index)
            spelling.setdefault(folded(name), name)
    notes = []
    for key, indices in owners.items():
        if len(indices) > 1:
            labels = ", ".join(quote(classes[index].label) for index in indices[:_LISTED])
            more = ", …" if len(indices) > _LISTED else ""
            notes.append(f"{quote(spelling[key])} is in {len(indices):,} classes ({labels}{more}); all are kept.")
    return notes


def _default_is_thing(names: Sequence[str]) -> bool:
    keys = [folded(name) for name in names]
    for source in _known_kinds():
        for key in keys:
            if key in source:
                return source[key]
    return True


@cache
def _known_kinds() -> tuple[dict[str, bool], ...]:
    """For each of `THING_SOURCES`, whether each of its words is a thing."""
    lists = [_preset_list(name).classes for name in THING_SOURCES]
    return tuple({folded(word): bool(kind) for words, kind in classes for word in words} for classes in lists)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
