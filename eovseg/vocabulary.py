"""Open vocabularies: words, synonyms, thing or stuff, and the class lists of benchmarks as presets.

A class that is written with a single name gets known synonyms where a result is asked for (`Vocabulary.coerce`).
`eovseg.word_lists` describes how a list is written. A name that ends in `.word` is a word by example (`eovseg.word`).
`Vocabulary.notes` reports skipped, duplicate and ambiguous input.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from eovseg import presets
from eovseg.errors import VocabularyError
from eovseg.notation import MARKS, table
from eovseg.presets import TRAINING_PRESET, is_preset, like_preset, preset_list, preset_names
from eovseg.word import Word, names_word
from eovseg.word_lists import (
    MAX_WORDS,
    SEPARATORS,
    WordList,
    check_count,
    check_word,
    folded,
    quote,
    read_json,
    read_text,
    tidy,
)

MAX_FILE_BYTES = 32_000_000
_LISTED = 8  # maximum number of classes listed in a note
CLASS_FILES = (".txt", ".json", ".csv")
# A single word with one of these extensions is a file, so a missing or unsupported file does not become a class.
_FILE_ENDINGS = (*CLASS_FILES, ".tsv", ".names", ".yaml", ".yml", ".xml", ".xlsx")
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
        """Reads a `.txt` file (text format), a `.json` file (of a preset or COCO) or a `.csv` file, all in UTF-8.

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
        if is_preset(value):
            return cls.preset(value)
        return _parse(value, _word_files(Path()))

    @classmethod
    def coerce(cls, value: "Words", synonyms: bool = True, apart_from: "Words | None" = None) -> "Vocabulary":
        """Converts strings (see `read`), words by example and lists of these; returns a vocabulary as is.

        Classes from strings other than presets' names get `synonyms` (see `with_synonyms`), except names in
        `apart_from`, unless that is a preset's name: the background or the words of the same result.
        """
        if isinstance(value, Vocabulary):
            return value
        parts = value if isinstance(value, list | tuple) else [value]
        if not parts:
            raise VocabularyError(_not_words("an empty list"))
        read = [cls._of(part) for part in parts]
        listed = read[0]
        if len(read) > 1:
            classes = tuple(entry for words in read for entry in words.classes)
            notes = (note for words in read for note in words.notes)
            listed = cls(classes, tuple(dict.fromkeys((*notes, *_shared_words(classes)))))
        if not synonyms:
            return listed
        apart = () if apart_from is None or is_preset(apart_from) else cls.coerce(apart_from, synonyms=False).words
        typed = [
            isinstance(p, str) and not is_preset(p) for p, words in zip(parts, read, strict=True) for _ in words.classes
        ]
        return listed.with_synonyms(np.flatnonzero(typed).tolist(), apart)

    @classmethod
    def _of(cls, part: object) -> "Vocabulary":
        if isinstance(part, Vocabulary):
            return part
        if isinstance(part, str):
            return cls.read(part)
        if isinstance(part, Word):
            return cls((WordClass((part.name,), part.is_thing, (part,)),))
        raise VocabularyError(_not_words(type(part).__name__))

    def with_synonyms(self, only: Collection[int] | None = None, apart_from: Collection[str] = ()) -> "Vocabulary":
        """This vocabulary with known synonyms and kinds ("water": "river", "sea") added to classes with a single name.

        `only`: indices of the classes that get them, by default all. A name that another class has or would also get,
        or that is in `apart_from`, is not added, nor is any if there would be more than 20,000 words. The list is
        assets/vocabularies/synonyms.txt; the words of `TRAINING_PRESET` also get their names in it.
        """
        alone = {
            index
            for index in (range(len(self)) if only is None else only)
            if len(self.classes[index].names) == 1 and not self.classes[index].examples
        }
        taken = {folded(name) for name in (*self.words, *apart_from)}
        wanted = {index: presets.synonyms().get(folded(self.classes[index].label), ()) for index in alone}
        uses = Counter(name for names in wanted.values() for name in names)
        added = {i: tuple(n for n in names if n not in taken and uses[n] == 1) for i, names in wanted.items()}
        if not 0 < sum(map(len, added.values())) <= MAX_WORDS - len(self.words):
            return self
        classes = (replace(c, names=c.names + added.get(i, ())) for i, c in enumerate(self.classes))
        return Vocabulary(tuple(classes), self.notes)

    def __len__(self) -> int:
        return len(self.classes)

    def __add__(self, other: "Words") -> "Vocabulary":
        """This vocabulary's classes, then the other's, as by `coerce`; words in both are kept and noted."""
        if not isinstance(other, Vocabulary | str | Word | list | tuple):
            return NotImplemented
        return Vocabulary.coerce([self, *(other if isinstance(other, list | tuple) else [other])])

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


def _not_words(given: str) -> str:
    return (
        'A vocabulary must be text such as "person; sky", the name of a preset or file, a Vocabulary, a Word or a '
        f"list of these, not {given}."
    )


def coco_training_words() -> tuple[str, ...]:
    """COCO's 254 names: the training vocabulary of the published S, M and L checkpoints."""
    return _load_preset(TRAINING_PRESET).words


@cache
def _load_preset(name: str) -> Vocabulary:
    return _build(preset_list(name), _given_words({}))


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
        raise VocabularyError(f"The name {quote(word)} ends like the file name of a word by example; omit the ending.")
    return word


def _parse(text: str, found: Found, name_alone: bool = False) -> Vocabulary:
    """`Vocabulary.parse`; `name_alone` as in `notation.table`."""
    listed = read_text(text, name_alone)
    return _build(WordList(listed.classes, [*listed.notes, *like_preset(listed)]), found)


def _build(listed: WordList, found: Found) -> Vocabulary:
    """The vocabulary of a list; `found` finds words by example."""
    classes = tuple(_class_of(tuple(names), is_thing, found) for names, is_thing in listed.classes)
    return Vocabulary(classes, (*listed.notes, *_shared_words(classes)))


def _class_of(names: tuple[str, ...], is_thing: bool | None, found: Found) -> WordClass:
    """A class of normalised names, some of which may be words by example; these set the kind if `is_thing` is None."""
    words = tuple(found(name) if names_word(name) else None for name in names)
    kinds = [word.is_thing for word in words if word is not None]
    if not kinds:
        return WordClass(names, presets.is_thing(names) if is_thing is None else is_thing)
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


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
