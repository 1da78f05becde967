"""Words: class files of the three formats, typed vocabularies, and the class lists of mask folders."""

import json
from pathlib import Path

from eovseg.data.layouts.own import read_classes
from eovseg.vocabulary import Vocabulary
from tests.fuzz.harness import Reader
from tests.fuzz.json_mutations import dumped, mutated_json
from tests.fuzz.mutations import mutated

_TEXT = (
    b"person, people: thing; sky: stuff; car\n", b"1:person,child\n2:sky\n", b"['dog', 'traffic light']",
    b"{1: 'pallet', 2: 'forklift'}",
    b'"dog"; "cat"', b"- dog\n- cat\n", "狗；猫、天空：stuff\n".encode(), b"\xef\xbb\xbfdog\r\ncat\r\n", b"dog . cat .",
    b"id,name,isthing\n1,person,1\n2,\"sky, heaven\",0\n",
)  # fmt: skip
_TABLES = (b"id,name\n1,person\n2,sky\n", b"name\nperson\nsky\n", b'id;name;stuff\n7;"a, b";0\n3;sea;1\n')
_JSON = tuple(
    json.dumps({"classes": classes}).encode()
    for classes in (
        [{"names": ["person", "child"], "isthing": True}, {"names": ["sky"], "isthing": None, "dataset_id": 7}],
        [{"names": ["sea"]}],
    )
)
_MARKS = (
    b";", b",", b"\n", b":", b": thing", b": stuff", b'"', b"'", b"[", b"]", b"(", b")", b"{", b"}", b"\x00", b"\t",
    b"1:", b"2. ", b"- ", b"name", b"id", b"\xef\xbb\xbf", b"\xff", b"\xef\xbc\x9b", b"\xe3\x80\x81", b"0" * 300,
    b"invalid_class_id", b"x" * 250, b"99999999999999999999",
)  # fmt: skip
_VALUES = (
    b"null", b"true", b"[]", b"{}", b'""', b"-1", b"1e999", b"NaN", b"9" * 25, b"1.5", b'"a, b"', b'"names"', b"[" * 50,
)  # fmt: skip


def text(seed: int) -> bytes:
    return mutated(_TEXT, seed, _MARKS)


def tables(seed: int) -> bytes:
    return mutated(_TABLES, seed, _MARKS)


def documents(seed: int) -> bytes:
    if seed % 2:
        return dumped(mutated_json([json.loads(document) for document in _JSON], seed), seed)
    return mutated(_JSON, seed, _VALUES)


def from_file(path: Path) -> object:
    """Reads a class file, writes it in the text format and reads it again."""
    vocabulary = Vocabulary.read(str(path))
    assert Vocabulary.parse(vocabulary.to_text()) == vocabulary, vocabulary.to_text()
    assert all(note and "\n" not in note for note in vocabulary.notes), vocabulary.notes
    return vocabulary


def typed(path: Path) -> object:
    """Words as typed or pasted."""
    return Vocabulary.coerce(path.read_bytes().decode("utf-8", "surrogateescape"))


def mask_values(path: Path) -> object:
    """The class list of a mask folder."""
    return read_classes(path)


READERS = [
    Reader("words .txt", text, from_file, ".txt"),
    Reader("words .csv", tables, from_file, ".csv"),
    Reader("words .json", documents, from_file, ".json"),
    Reader("words typed", text, typed),
    Reader("mask classes .txt", text, mask_values, ".txt"),
    Reader("mask classes .json", documents, mask_values, ".json"),
]
