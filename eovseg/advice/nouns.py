"""The everyday nouns that can be suggested (from `eovseg.data.noun_list`), and their embeddings."""

import hashlib
from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from eovseg.assets import asset_path
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.segmenter import Segmenter

NOUNS = "vocabularies/nouns.txt"
ROWS = "vocabularies/nouns-minilm.npz"  # embeddings by XS's text encoder, which is frozen
SYNONYM_LISTS = ("everyday", "ade20k-150", "ade20k-847")


@cache
def nouns() -> Vocabulary:
    """About 1,700 everyday nouns with synonyms; COCO's classes first, sorted by frequency in the training photos."""
    return Vocabulary.from_file(asset_path(NOUNS))


def noun_rows(predictor: "Segmenter") -> np.ndarray:
    """Unit embeddings (N, D) float32 of all names of `nouns()`; those of XS's text encoder ship in half precision."""
    if predictor.config.backbone == "efficientnet_lite2":
        stored = _stored_rows()
        if stored is not None:
            return stored
    return np.asarray(predictor.text_embeddings(nouns()).embeddings.float().cpu())


@cache
def _stored_rows() -> np.ndarray | None:
    """The shipped rows; None if they belong to another list of names."""
    with np.load(asset_path(ROWS)) as file:
        if str(file["names"]) != digest_of(nouns()):
            return None
        rows = file["rows"].astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def digest_of(words: Vocabulary) -> str:
    """Digest of a list of names."""
    return hashlib.blake2b("\n".join(words.words).encode(), digest_size=16).hexdigest()


def synonyms(names: Collection[str], taken: Collection[str]) -> list[str]:
    """Other names of a class with `names`, from the nouns and some class lists, without those in `taken`."""
    known, keys = _names_of_name(), {name.casefold() for name in taken}
    found = dict.fromkeys(other for name in names for other in known.get(name.casefold(), ()))
    return [name for name in found if name.casefold() not in keys]


@cache
def _names_of_name() -> dict[str, tuple[str, ...]]:
    """All names of the classes with a given name, by that name in lower case."""
    found: dict[str, dict[str, None]] = {}
    for words in (nouns(), *(Vocabulary.preset(name) for name in SYNONYM_LISTS)):
        for entry in words.classes:
            for name in entry.names:
                found.setdefault(name.casefold(), {}).update(dict.fromkeys(entry.names))
    return {name: tuple(others) for name, others in found.items()}
