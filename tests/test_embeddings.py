"""The embedding cache: encoding, eviction, and damaged or shared folders."""

import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eovseg.embeddings import EmbeddingCache, default_cache_directory

DIMENSION = 8


class Encoder:
    """A fake text encoder: embeddings are derived from the words, and every call is recorded."""

    def __init__(self, dtype: type = np.float32) -> None:
        self.calls: list[list[str]] = []
        self.dtype = dtype

    def __call__(self, words: list[str]) -> np.ndarray:
        self.calls.append(list(words))
        rows = np.stack([np.random.default_rng(zlib.crc32(word.encode())).normal(size=DIMENSION) for word in words])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(self.dtype)


def cache_file(folder: Path) -> Path:
    (path,) = folder.glob("*.sqlite")
    return path


def test_one_added_word_is_the_only_one_encoded(tmp_path: Path) -> None:
    encoder = Encoder()
    cache = EmbeddingCache("encoder", DIMENSION, encoder, tmp_path)
    words = [f"word {index}" for index in range(150)]
    before = cache.embed(words)
    after = cache.embed([*words[:70], "zeppelin", *words[70:]])
    assert encoder.calls == [words, ["zeppelin"]]
    assert cache.encoded_words == 151
    np.testing.assert_array_equal(np.delete(after, 70, axis=0), before)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-6)
    assert after.dtype == np.float32


def test_repeats_are_encoded_once_and_no_words_give_no_rows(tmp_path: Path) -> None:
    encoder = Encoder()
    cache = EmbeddingCache("encoder", DIMENSION, encoder, tmp_path)
    rows = cache.embed(["bag", "sky", "bag"])
    assert encoder.calls == [["bag", "sky"]]
    np.testing.assert_array_equal(rows[0], rows[2])
    assert cache.embed([]).shape == (0, DIMENSION)


def test_the_next_process_reads_them_from_disk(tmp_path: Path) -> None:
    first = EmbeddingCache("encoder", DIMENSION, Encoder(), tmp_path).embed(["sky", "天", "a" * 200])
    encoder = Encoder()
    second = EmbeddingCache("encoder", DIMENSION, encoder, tmp_path)
    np.testing.assert_array_equal(second.embed(["sky", "天", "a" * 200]), first)
    assert encoder.calls == []
    assert second.encoded_words == 0


def test_different_keys_have_different_entries(tmp_path: Path) -> None:
    EmbeddingCache("encoder", DIMENSION, Encoder(), tmp_path).embed(["sky"])
    encoder = Encoder()
    EmbeddingCache("other encoder", DIMENSION, encoder, tmp_path).embed(["sky"])
    assert encoder.calls == [["sky"]]


def test_words_are_not_readable_in_the_file(tmp_path: Path) -> None:
    EmbeddingCache("encoder", DIMENSION, Encoder(), tmp_path).embed(["my secret word"])
    assert b"secret" not in cache_file(tmp_path).read_bytes()


def test_float64_is_kept_to_the_last_bit(tmp_path: Path) -> None:
    encoder = Encoder(np.float64)
    expected = encoder(["sky", "sea"])
    assert EmbeddingCache("f64", DIMENSION, encoder, tmp_path).embed(["sky", "sea"]).tobytes() == expected.tobytes()
    again = EmbeddingCache("f64", DIMENSION, Encoder(), tmp_path).embed(["sky", "sea"])
    assert again.dtype == np.float64
    assert again.tobytes() == expected.tobytes()


def test_rows_of_any_length_come_back_normalised() -> None:
    cache = EmbeddingCache("encoder", 2, lambda words: np.full((len(words), 2), 3, dtype=np.float16), None)
    np.testing.assert_allclose(cache.embed(["a"]), [[0.5**0.5] * 2], atol=1e-6)


@pytest.mark.parametrize(
    ("encode", "sentence"),
    [
        (lambda words: np.ones((len(words), 3)), r"shape \(1, 3\) for 1 words"),
        (lambda words: np.zeros((len(words), DIMENSION)), "zero or not finite for 'sky'"),
        (lambda words: np.full((len(words), DIMENSION), np.nan), "zero or not finite"),
    ],
)
def test_wrong_rows_are_refused(encode: Callable[[list[str]], np.ndarray], sentence: str, tmp_path: Path) -> None:
    cache = EmbeddingCache("encoder", DIMENSION, encode, tmp_path)
    with pytest.raises(ValueError, match=sentence):
        cache.embed(["sky"])
    assert cache.encoded_words == 0


def test_memory_is_bounded_and_the_result_is_complete() -> None:
    encoder = Encoder()
    cache = EmbeddingCache("encoder", DIMENSION, encoder, None, memory_bytes=10 * DIMENSION * 4)
    words = [f"word {index}" for index in range(50)]
    rows = cache.embed(words)
    np.testing.assert_array_equal(rows, Encoder()(words))
    cache.embed(words[-10:])
    assert len(encoder.calls) == 1  # the ten most recently used are cached
    cache.embed(words[-1:] + words[:1])
    assert encoder.calls[1] == words[:1]


def test_disk_is_bounded(tmp_path: Path) -> None:
    cache = EmbeddingCache("encoder", DIMENSION, Encoder(), tmp_path, disk_bytes=40_000)
    for start in range(0, 2000, 100):
        cache.embed([f"word {index}" for index in range(start, start + 100)])
    assert cache_file(tmp_path).stat().st_size < 120_000
    encoder = Encoder()
    EmbeddingCache("encoder", DIMENSION, encoder, tmp_path).embed(["word 1999"])
    assert encoder.calls == []


@pytest.mark.parametrize("damage", ["nonsense", "cut", "row", "table"])
def test_a_damaged_file_is_encoded_again(tmp_path: Path, damage: str) -> None:
    words = [f"word {index}" for index in range(200)]
    EmbeddingCache("encoder", DIMENSION, Encoder(), tmp_path).embed(words)
    path = cache_file(tmp_path)
    if damage == "nonsense":
        path.write_bytes(b"not a database " * 1000)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        with sqlite3.connect(path) as connection:
            change = "UPDATE embeddings SET row = x'00'" if damage == "row" else "DROP TABLE embeddings"
            connection.execute(change)
        connection.close()
    encoder = Encoder()
    rows = EmbeddingCache("encoder", DIMENSION, encoder, tmp_path).embed(words)
    np.testing.assert_array_equal(rows, Encoder()(words))
    assert encoder.calls == [words]
    healed = Encoder()
    EmbeddingCache("encoder", DIMENSION, healed, tmp_path).embed(words)
    assert healed.calls == []


def test_without_a_usable_folder_memory_is_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    encoder = Encoder()
    cache = EmbeddingCache("encoder", DIMENSION, encoder, blocked / "folder")
    for _ in range(3):
        cache.embed(["sky", "sea"])
        cache.embed(["sky", "car"])
    assert encoder.calls == [["sky", "sea"], ["car"]]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_locked_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EmbeddingCache("encoder", DIMENSION, Encoder(), tmp_path).embed(["sky", "sea"])
    monkeypatch.setattr("eovseg.embeddings._LOCK_SECONDS", 0.05)
    holder = sqlite3.connect(cache_file(tmp_path), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    encoder = Encoder()
    EmbeddingCache("encoder", DIMENSION, encoder, tmp_path).embed(["sky"])
    assert encoder.calls == [["sky"]]
    holder.execute("ROLLBACK")
    holder.close()
    after = Encoder()
    EmbeddingCache("encoder", DIMENSION, after, tmp_path).embed(["sky", "sea"])
    assert after.calls == []


@pytest.mark.parametrize("on_disk", [True, False])
def test_many_visitors_encode_each_word_once(tmp_path: Path, on_disk: bool) -> None:
    encoder = Encoder()
    cache = EmbeddingCache("encoder", DIMENSION, encoder, tmp_path if on_disk else None)
    expected = {word: Encoder()([word])[0] for word in (f"word {index}" for index in range(40))}
    wrong: list[str] = []

    def visit(seed: int) -> None:
        words = list(np.random.default_rng(seed).permutation(list(expected)))
        for word, row in zip(words, cache.embed(words), strict=True):
            if not np.array_equal(row, expected[word]):
                wrong.append(word)

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sorted(word for call in encoder.calls for word in call) == sorted(expected)
    assert cache.encoded_words == 40


def test_only_new_words_wait_for_the_encoder_and_none_is_encoded_twice() -> None:
    started, finish = threading.Event(), threading.Event()
    encoder = Encoder()

    def slow(words: list[str]) -> np.ndarray:
        if words == ["slow"]:
            started.set()
            assert finish.wait(20)
        return encoder(words)

    cache = EmbeddingCache("encoder", DIMENSION, slow, None)
    cache.embed(["sky"])
    visitors = [threading.Thread(target=cache.embed, args=(["slow"],)) for _ in range(2)]
    visitors[0].start()
    assert started.wait(20)
    visitors[1].start()
    visitors[1].join(0.2)
    assert visitors[1].is_alive()  # waits for the first one's word
    assert cache.embed(["sky"]).shape == (1, DIMENSION)  # would hang if cached words waited, too
    finish.set()
    for visitor in visitors:
        visitor.join(20)
    assert encoder.calls == [["sky"], ["slow"]]


def test_processes_share_a_folder(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from pathlib import Path; from eovseg.embeddings import EmbeddingCache\n"
        "cache = EmbeddingCache('k', 4, lambda words: np.eye(4)[[len(w) % 4 for w in words]], Path(sys.argv[1]))\n"
        "for i in range(30): cache.embed([sys.argv[2] * (i + 1), 'shared' * (i + 1)])\n"
    )
    root = Path(__file__).parent.parent
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name], cwd=root) for name in "ab"]
    assert [process.wait(60) for process in running] == [0, 0]
    calls: list[list[str]] = []

    def encode(words: list[str]) -> np.ndarray:
        calls.append(words)
        return np.eye(4)[[0] * len(words)]

    EmbeddingCache("k", 4, encode, tmp_path).embed([word * (i + 1) for word in ("a", "b", "shared") for i in range(30)])
    assert calls == []


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EOVSEG_CACHE", str(tmp_path))
    assert default_cache_directory() == tmp_path
    for unset in ("", " "):
        monkeypatch.setenv("EOVSEG_CACHE", unset)
        assert default_cache_directory().name == "eovseg"
        assert default_cache_directory().is_absolute()
