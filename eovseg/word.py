"""Words by example: a vector of the text space that represents what some masks show, stored in a small file.

A `Word` can be mixed with typed words in one list ("dog; mug.word; grass: stuff"): VAS and both classifiers use its row
like any other. `eovseg/examples.py` computes the row. This module does not load torch.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.errors import VocabularyError

if TYPE_CHECKING:
    from eovseg.images import ImageSource

SUFFIX = ".word"
FORMAT = "eovseg-word-1"
MAX_EXAMPLES = 100
MAX_BYTES = 4_000_000  # ten times the size of a hundred examples in the widest text space
_SAME_SPACE = 0.99  # cosine of a name's two text vectors: 0.999 across precisions, far less across encoders
_MAX_DIMENSION = 4096


class WordMaker(Protocol):
    """The method of a predictor that `Word.from_examples` needs."""

    def word_from_examples(
        self, name: str, examples: "Sequence[tuple[ImageSource, Any]]", is_thing: bool | None = None
    ) -> "Word":
        """See `Word.from_examples`."""


@dataclass(frozen=True, repr=False)
class Word:
    """A word by example; two are equal when their name, kind and vector are.

    `vector` (D,) float32, unit length: the row of the text space. `examples` (n, D) float32: the row of each example
    (`eovseg.examples.directions`), from which the vector is computed again when examples are added. `text` (D,)
    float32: the text embedding of the name, which identifies the text space. `variant` and `weights` (SHA-256, "" for
    none) describe the model that made it. `is_thing`: whether objects are counted. `source`: its name in a list of
    words.
    """

    name: str
    is_thing: bool
    digest: str = field(init=False)
    vector: np.ndarray = field(compare=False)
    examples: np.ndarray = field(compare=False)
    text: np.ndarray = field(compare=False)
    variant: str = field(compare=False)
    weights: str = field(default="", compare=False)
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.vector.astype("<f4").tobytes()).hexdigest())

    def __repr__(self) -> str:
        count = f"{len(self.examples)} example" + ("s" if len(self.examples) != 1 else "")
        return f"Word({self.name!r}, {count}, EOV-Seg {self.variant.upper()})"

    @classmethod
    def from_examples(
        cls,
        name: str,
        examples: "Sequence[tuple[ImageSource, Any]]",
        predictor: "WordMaker",
        is_thing: bool | None = None,
    ) -> "Word":
        """Makes a word for the objects inside the masks of some photos.

        `examples`: pairs of a photo (path, PIL image or array) and a mask (H, W) of its size, true or above 0 inside;
        photos may repeat. `predictor`: a model from `eovseg.load`, in whose text space the word is made. `is_thing`:
        whether objects are counted; None gives the kind of the typed word.
        Raises `VocabularyError` for an invalid name or masks that do not fit, `ImageError` for unreadable photos.
        """
        return predictor.word_from_examples(name, examples, is_thing)

    @classmethod
    def load(cls, path: str | Path, source: str | None = None) -> "Word":
        """The word in a `.word` file; `source` is its name in a list of words, by default the given path.

        Raises `VocabularyError` naming the file if it is missing, damaged or not a .word file.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
            reason = getattr(error, "strerror", None) or str(error)
            raise VocabularyError(f'The word by example "{path}" cannot be read ({reason}).') from error
        return cls.from_bytes(content, str(path) if source is None else source)

    @classmethod
    def from_bytes(cls, content: bytes, source: str = "") -> "Word":
        """Inverse of `to_bytes`; raises `VocabularyError` naming `source` for other or damaged content."""
        wrong = f'The word by example "{source}"'
        if len(content) > MAX_BYTES:
            raise VocabularyError(f"{wrong} is larger than {MAX_BYTES // 1_000_000} MB, so it is not a .word file.")
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            word = _word(load(content), _header(content), source)
        except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError,
                VocabularyError) as error:  # fmt: skip
            raise VocabularyError(f"{wrong} is damaged or not a .word file; save the word again.") from error
        return word

    def save(self, path: str | Path) -> Path:
        """Writes the word to a file that ends in `.word`, or to a file named after it in a folder; returns the path.

        Raises `VocabularyError` for another ending, or if the file cannot be written.
        """
        path = Path(path)
        if path.is_dir():
            path = path / self.file_name
        if path.suffix.lower() != SUFFIX:
            raise VocabularyError(f'The file of a word by example must end in "{SUFFIX}", but "{path.name}" does not.')
        try:
            write_atomically(path, self.to_bytes())
        except OSError as error:
            raise VocabularyError(f'The word cannot be written to "{path}" ({error.strerror or error}).') from error
        return path

    def to_bytes(self) -> bytes:
        """The content of the file: safetensors, with name, text space, number of examples and weights in the header."""
        from safetensors.numpy import save

        header = {
            "name": self.name,
            "isthing": self.is_thing,
            "variant": self.variant,
            "dimension": len(self.vector),
            "examples": len(self.examples),
            "weights": self.weights,
            "vector": self.digest,
        }
        rows = {"vector": self.vector, "examples": self.examples, "text": self.text}
        tensors = {key: np.ascontiguousarray(row, dtype=np.float32) for key, row in rows.items()}
        return save(tensors, {"format": FORMAT, "header": json.dumps(header, ensure_ascii=False)})

    @property
    def file_name(self) -> str:
        """The default name of its file."""
        return self.file_name_of(self.name)

    @staticmethod
    def file_name_of(name: str) -> str:
        """The default file name of a word called `name`."""
        tidy = " ".join(name.split())
        kept = "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in tidy)[:60].strip()
        return f"{kept or 'word'}{SUFFIX}"

    def called(self, source: str) -> "Word":
        """The same word with the name `source` in a list of words."""
        return replace(self, source=source)

    @cached_property
    def reference(self) -> str:
        """Its name in a list of words."""
        return self.source or self.file_name

    def row(self, text: np.ndarray, variant: str) -> np.ndarray:
        """The vector, for a model whose text encoder maps the name to `text` (D,).

        Raises `VocabularyError` if that model has another text space.
        """
        if len(text) == len(self.vector):
            lengths = np.linalg.norm(text) * np.linalg.norm(self.text)
            if float(text @ self.text) >= _SAME_SPACE * lengths:
                return self.vector
        raise VocabularyError(
            f'The word by example "{self.reference}" belongs to the text space of EOV-Seg {self.variant.upper()} '
            f"({len(self.vector)} numbers), but this model, {variant.upper()}, has another one ({len(text)} numbers); "
            "make the word again from its photos with this model."
        )


def names_word(text: str) -> bool:
    """Whether an item of a list of words names a word by example."""
    return text.lower().endswith(SUFFIX)


def _header(content: bytes) -> dict[str, Any]:
    """Our header in the metadata of a valid safetensors file."""
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    if metadata["format"] != FORMAT:
        raise ValueError(metadata["format"])
    header: dict[str, Any] = json.loads(metadata["header"])
    return header


def _word(tensors: dict[str, np.ndarray], header: dict[str, Any], source: str) -> Word:
    from eovseg.vocabulary import checked_name

    vector, examples, text = (tensors[key] for key in ("vector", "examples", "text"))
    dimension = len(vector)
    shapes = vector.shape == text.shape == (dimension,) and examples.shape[1:] == (dimension,)
    if not shapes or not 1 <= dimension <= _MAX_DIMENSION or not 1 <= len(examples) <= MAX_EXAMPLES:
        raise ValueError("shapes")
    rows = (vector, examples, text)
    if any(row.dtype != np.float32 or not np.isfinite(row).all() for row in rows):
        raise ValueError("values")
    if abs(float(np.linalg.norm(vector)) - 1) > 1e-3:
        raise ValueError("length")
    if not isinstance(header["isthing"], bool):
        raise TypeError("isthing")
    if hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest() != header["vector"]:
        raise ValueError("checksum")
    return Word(
        name=checked_name(header["name"]),
        is_thing=header["isthing"],
        vector=vector,
        examples=examples,
        text=text,
        variant=str(header["variant"])[:8],
        weights=str(header["weights"])[:64],
        source=source,
    )
