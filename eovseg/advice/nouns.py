"""The everyday nouns that suggestions are drawn from (`eovseg.data.noun_list` made them), and their embeddings."""

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
ROWS = "vocabularies/nouns-minilm.npz"  # of XS's text tower, which no training changes
SYNONYM_LISTS = ("everyday", "ade20k-150", "ade20k-847")


@cache
def nouns() -> Vocabulary:
    """About 1,700 everyday nouns with synonyms; COCO's classes first, those first that most training photos have."""
    return Vocabulary.from_file(asset_path(NOUNS))


def noun_rows(predictor: "Segmenter") -> np.ndarray:
    """Unit embeddings (N, D) float32 of all names of `nouns()`; those of XS's text tower ship in half precision."""
    if predictor.config.backbone == "efficientnet_lite2":
        stored = _stored_rows()
        if stored is not None:
            return stored
    return np.asarray(predictor.text_embeddings(nouns()).embeddings.float().cpu())


@cache
def _stored_rows() -> np.ndarray | None:
    """The shipped rows; None where they belong to another list of names."""
    with np.load(asset_path(ROWS)) as file:
        if str(file["names"]) != digest_of(nouns()):
            return None
        rows = file["rows"].astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def digest_of(words: Vocabulary) -> str:
    """What tells one list of names from another."""
    return hashlib.blake2b("\n".join(words.words).encode(), digest_size=16).hexdigest()


def synonyms(names: Collection[str], taken: Collection[str]) -> list[str]:
    """Other names of a class with `names`: what the nouns and some class lists call it, but for those `taken`."""
    known, keys = _names_of_name(), {name.casefold() for name in taken}
    found = dict.fromkeys(other for name in names for other in known.get(name.casefold(), ()))
    return [name for name in found if name.casefold() not in keys]


@cache
def _names_of_name() -> dict[str, tuple[str, ...]]:
    """For each name, in small letters, all names of the classes that it labels or is a synonym of."""
    found: dict[str, dict[str, None]] = {}
    for words in (nouns(), *(Vocabulary.preset(name) for name in SYNONYM_LISTS)):
        for entry in words.classes:
            for name in entry.names:
                found.setdefault(name.casefold(), {}).update(dict.fromkeys(entry.names))
    return {name: tuple(others) for name, others in found.items()}
