"""Words by example: their files, their use together with typed words, and invalid words."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from eovseg.errors import VocabularyError
from eovseg.vocabulary import Vocabulary, WordClass, checked_name
from eovseg.word import FORMAT, Word


def word(name: str = "our mug", is_thing: bool = True, seed: int = 0, dimension: int = 8) -> Word:
    rows = np.random.default_rng(seed).normal(size=(4, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Word(name, is_thing, rows[0], rows[1:3], rows[3], "xs", "ab" * 32)


def test_the_file_round_trips(tmp_path: Path) -> None:
    one = word()
    path = one.save(tmp_path)
    assert path.name == "our mug.word" and path.stat().st_size < 4_000
    again = Word.load(path)
    assert again == one and hash(again) == hash(one)
    for name in ("vector", "examples", "text"):
        np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
    assert (again.variant, again.weights, again.is_thing) == ("xs", "ab" * 32, True)
    assert repr(again) == "Word('our mug', 2 examples, EOV-Seg XS)"
    assert word(seed=1) != one and word("other") != one and word(is_thing=False) != one


def test_the_header_describes_the_word() -> None:
    content = word().to_bytes()
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    header = json.loads(metadata["header"])
    assert metadata["format"] == FORMAT
    assert header | {"vector": ""} == {
        "name": "our mug", "isthing": True, "variant": "xs", "dimension": 8, "examples": 2, "weights": "ab" * 32,
        "vector": "",
    }  # fmt: skip


def _changed(content: bytes, **tensors: np.ndarray) -> bytes:
    size = int.from_bytes(content[:8], "little")
    return save(load(content) | tensors, json.loads(content[8 : 8 + size])["__metadata__"])


def damaged() -> dict[str, bytes]:
    content = word().to_bytes()
    return {
        "empty": b"",
        "text": b"our mug",
        "cut": content[:-5],
        "another program's": save({"vector": np.ones(8, np.float32)}),
        "other vector": _changed(content, vector=np.eye(1, 8, dtype=np.float32)[0]),
        "other shape": _changed(content, text=np.ones(7, np.float32)),
        "no example": _changed(content, examples=np.ones((0, 8), np.float32)),
        "not finite": _changed(content, examples=np.full((1, 8), np.nan, np.float32)),
        "bad name": content.replace(b'\\"our mug\\"', b'\\"our;mug\\"'),
        "too large": content + bytes(4_000_001),
    }


@pytest.mark.parametrize("kind", damaged())
def test_a_damaged_file_gets_one_sentence(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.word"
    path.write_bytes(damaged()[kind])
    with pytest.raises(VocabularyError, match=r"bad\.word.*not a \.word file") as error:
        Word.load(path)
    assert "\n" not in str(error.value)


def test_missing_files_and_files_that_are_not_words(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="cannot be read"):
        Word.load(tmp_path / "missing.word")
    with pytest.raises(VocabularyError, match=r"must end in"):
        word().save(tmp_path / "mug.txt")
    with pytest.raises(VocabularyError, match="cannot be written"):
        word().save(word().save(tmp_path) / "mug.word")  # a file is not a folder


def test_words_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mug, moss = word(), word("moss", False, 1)
    mug.save("mug.word")
    moss.save("moss.word")
    words = Vocabulary.read("dog; mug.word, cup; moss.word; moss.word: thing")
    assert words.words == ("dog", "our mug", "cup", "moss", "moss")
    assert words.examples == {1: mug, 3: moss, 4: moss}
    assert words.is_thing.tolist() == [True, True, False, True]
    assert words.to_text() == "dog: thing; mug.word, cup: thing; moss.word: stuff; moss.word: thing"
    assert Vocabulary.read(words.to_text()) == words
    assert Vocabulary.read("mug.word") == Vocabulary.coerce(mug), "a single word by example is not a class file"
    assert words != Vocabulary.parse("dog; our mug, cup; moss: stuff; moss: thing")
    with pytest.raises(VocabularyError, match=r"none\.word.*cannot be read"):
        Vocabulary.read("dog; none.word")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("words.txt", "dog\nmug.word\n"),
        ("words.csv", "name,isthing\ndog,1\nmug.word,1\n"),
        ("words.json", '{"classes": [{"names": ["dog"]}, {"names": ["mug.word"]}]}'),
    ],
)
def test_class_files_can_name_word_files_beside_them(name: str, text: str, tmp_path: Path) -> None:
    word().save(tmp_path / "mug.word")
    (tmp_path / name).write_text(text)
    assert Vocabulary.from_file(tmp_path / name).examples == {1: word()}


def test_parsing_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    word().save("mug.word")
    with pytest.raises(VocabularyError, match=r'word by example "mug\.word" is not loaded \(loaded: none\)'):
        Vocabulary.parse("dog; mug.word")
    given = Vocabulary.parse("dog; Cup.WORD", {"cup.word": word()})
    assert given.examples == {1: word()} and given.to_text().endswith("Cup.WORD: thing")
    with pytest.raises(VocabularyError, match=r"loaded: cup\.word"):
        Vocabulary.parse("mug.word", {"cup.word": word()})


def test_lists_with_words_of_all_kinds() -> None:
    mixed = Vocabulary.coerce(["sheep; grass: stuff", word(), Vocabulary.parse("sky")])
    assert mixed.words == ("sheep", "grass", "our mug", "sky") and mixed.examples == {2: word()}
    assert (Vocabulary.parse("dog") + word()).examples == {1: word()}
    for nothing in ([], None, 3):
        with pytest.raises(VocabularyError, match="A vocabulary must be text"):
            Vocabulary.coerce(nothing)  # type: ignore[arg-type]
    with pytest.raises(VocabularyError, match="2 names and 1 entries"):
        WordClass(("a", "b"), True, (word(),))


def test_a_word_by_example_is_never_a_training_word() -> None:
    both = WordClass(("dog", "cat"), True, (word("dog"), None))
    words = Vocabulary((WordClass(("dog",), True), WordClass(("dog",), True, (word("dog"),)), both))
    assert words.seen(["dog", "cat"]).tolist() == [True, False, True]


def test_another_text_space_is_refused() -> None:
    one = word()
    assert one.row(one.text * 3, "xs") is one.vector
    for text, said in ((np.ones(5), r"\(8 numbers\).*S, has another one \(5 numbers\)"), (-one.text, "another one")):
        with pytest.raises(VocabularyError, match=said) as error:
            one.row(text, "s")
        assert "make the word again" in str(error.value)


def test_file_names_are_plain() -> None:
    assert word("../a/b:c").file_name == "___a_b_c.word"
    assert Word.file_name_of("…") == "_.word" and Word.file_name_of(" our   mug ") == "our mug.word"
    with pytest.raises(VocabularyError, match="ends like the file name"):
        checked_name("mug.word")
