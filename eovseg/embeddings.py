"""Word embeddings that are computed once: a cache in memory and on disk in front of a text tower.

A row depends on the text tower, the prompt templates and the word, and on nothing else, so adding one word to a
vocabulary encodes one word. Words are stored under a hash: the file does not tell what people typed.
"""

import hashlib
import logging
import os
import sqlite3
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import platformdirs

_LOG = logging.getLogger(__name__)

CACHE_VARIABLE = "EOVSEG_CACHE"
_FILE_NAME = "embeddings-1.sqlite"  # the number changes with the table's form
_QUERY_ROWS = 500  # SQLite's oldest builds allow 999 parameters in one statement
_ENCODE_WORDS = 512  # what an interrupted run of a large vocabulary can lose
_LOCK_SECONDS = 5.0
_UNIT_TOLERANCE = 1e-6


def default_cache_directory() -> Path:
    """The folder that the variable `EOVSEG_CACHE` names, else "eovseg" in the platform's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("eovseg", appauthor=False)


class EmbeddingCache:
    """Embeddings of words, each encoded once; safe to share between threads, the folder between processes.

    `key` identifies what makes a row: text tower, weights, templates and precision.
    `encode` turns n words into (n, dimension) rows, prompts included; float64 rows stay so, others become float32.
    `directory` None keeps everything in memory; `encoded_words` counts the words that `encode` was really given.
    """

    def __init__(
        self,
        key: str,
        dimension: int,
        encode: Callable[[list[str]], np.ndarray],
        directory: Path | None,
        memory_bytes: int = 256_000_000,
        disk_bytes: int = 1_000_000_000,
    ) -> None:
        self.dimension = dimension
        self.encoded_words = 0
        self._key = key
        self._encode = encode
        self._memory: OrderedDict[str, np.ndarray] = OrderedDict()
        self._memory_bytes = memory_bytes
        self._used_bytes = 0
        self._memory_lock = threading.Lock()
        # One word at a time goes to the text tower; visitors whose words are known don't wait for it.
        self._encode_lock = threading.Lock()
        self._disk = _DiskStore(directory / _FILE_NAME, dimension, disk_bytes) if directory else None

    def embed(self, words: Sequence[str]) -> np.ndarray:
        """(n, dimension) L2-normalised rows of the n `words`, float32 (float64 if `encode` gives float64).

        Raises ValueError if `encode` returns another shape or a row that is zero or not finite.
        """
        rows = self._recall(words)
        if len(rows) < len(set(words)):
            with self._encode_lock:
                # Another thread may have encoded some of them while this one waited.
                missing = [word for word in dict.fromkeys(words) if word not in rows]
                rows |= self._recall(missing)
                rows |= self._read_disk([word for word in missing if word not in rows])
                missing = [word for word in missing if word not in rows]
                for start in range(0, len(missing), _ENCODE_WORDS):
                    rows |= self._encode_and_store(missing[start : start + _ENCODE_WORDS])
        if not words:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([rows[word] for word in words])

    def _recall(self, words: Iterable[str]) -> dict[str, np.ndarray]:
        found = {}
        with self._memory_lock:
            for word in words:
                if word in self._memory:
                    self._memory.move_to_end(word)
                    found[word] = self._memory[word]
        return found

    def _remember(self, rows: dict[str, np.ndarray]) -> None:
        """Keep `rows` in memory; the least recently used go when the limit is passed."""
        with self._memory_lock:
            for word, row in rows.items():
                if word not in self._memory:
                    self._used_bytes += row.nbytes
                self._memory[word] = row
                self._memory.move_to_end(word)
            while self._used_bytes > self._memory_bytes:
                _, row = self._memory.popitem(last=False)
                self._used_bytes -= row.nbytes

    def _read_disk(self, words: Sequence[str]) -> dict[str, np.ndarray]:
        if not self._disk or not words:
            return {}
        names = {self._hash(word): word for word in words}
        rows = {names[name]: row for name, row in self._disk.read(list(names)).items()}
        self._remember(rows)
        return rows

    def _encode_and_store(self, words: list[str]) -> dict[str, np.ndarray]:
        encoded = np.asarray(self._encode(words))
        if encoded.shape != (len(words), self.dimension):
            raise ValueError(
                f"encode returned an array of shape {encoded.shape} for {len(words)} words; "
                f"({len(words)}, {self.dimension}) was expected."
            )
        encoded = encoded.astype(np.float64 if encoded.dtype == np.float64 else np.float32)  # a copy of our own
        lengths = np.linalg.norm(encoded.astype(np.float64), axis=1, keepdims=True)
        for word, length in zip(words, lengths[:, 0], strict=True):
            if not (np.isfinite(length) and length > 0):
                raise ValueError(f"encode returned a row that is zero or not finite for {word!r}.")
        if np.abs(lengths - 1).max() > _UNIT_TOLERANCE:
            encoded = (encoded / lengths).astype(encoded.dtype)
        rows = {word: row.copy() for word, row in zip(words, encoded, strict=True)}
        self.encoded_words += len(words)
        self._remember(rows)
        if self._disk:
            self._disk.write({self._hash(word): row for word, row in rows.items()})
        return rows

    def _hash(self, word: str) -> bytes:
        return hashlib.blake2b(f"{self._key}\0{word}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


class _DiskStore:
    """Rows by hash in one SQLite file. A damaged file is started anew; one that cannot be used is done without."""

    def __init__(self, path: Path, dimension: int, limit_bytes: int) -> None:
        self._path = path
        self._dimension = dimension
        self._limit_bytes = limit_bytes
        self._told = False

    def read(self, names: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        rows: dict[bytes, np.ndarray] = {}

        def select(connection: sqlite3.Connection) -> None:
            for start in range(0, len(names), _QUERY_ROWS):
                part = names[start : start + _QUERY_ROWS]
                marks = ",".join("?" * len(part))
                query = f"SELECT name, checksum, dtype, row FROM embeddings WHERE name IN ({marks})"
                for name, checksum, dtype, blob in connection.execute(query, part):
                    row = self._unpack(checksum, dtype, blob)
                    if row is not None:
                        rows[name] = row

        if self._path.exists():
            self._attempt(select)
        return rows

    def write(self, rows: dict[bytes, np.ndarray]) -> None:
        def insert(connection: sqlite3.Connection) -> None:
            values = []
            for name, row in rows.items():
                blob = row.astype(row.dtype.newbyteorder("<")).tobytes()
                values.append((name, zlib.crc32(blob), row.dtype.name, blob))
            connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", values)
            self._drop_oldest(connection)

        self._attempt(insert)

    def _drop_oldest(self, connection: sqlite3.Connection) -> None:
        """Past the size limit, half of the rows go, those written first; the file's pages are used again."""

        def pragma(name: str) -> int:
            return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

        if (pragma("page_count") - pragma("freelist_count")) * pragma("page_size") > self._limit_bytes:
            connection.execute(
                "DELETE FROM embeddings WHERE rowid IN (SELECT rowid FROM embeddings ORDER BY rowid "
                "LIMIT (SELECT (COUNT(*) + 1) / 2 FROM embeddings))"
            )

    def _unpack(self, checksum: object, dtype: object, blob: object) -> np.ndarray | None:
        """A stored row, or None where the file's bytes are not what was written."""
        if dtype not in ("float32", "float64") or not isinstance(blob, bytes) or zlib.crc32(blob) != checksum:
            return None
        row = np.frombuffer(blob, dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)
        return row if row.shape == (self._dimension,) else None

    def _attempt(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Run `work` in a transaction; on failure the embeddings stay in memory only, which costs time, not results."""
        try:
            try:
                self._run(work)
            except sqlite3.OperationalError:
                raise  # locked, full or unwritable: the file may be sound, so it stays
            except sqlite3.DatabaseError as error:
                self._tell(f"is damaged and is started anew ({error})")
                self._path.unlink(missing_ok=True)
                self._path.with_name(self._path.name + "-journal").unlink(missing_ok=True)
                self._run(work)
        except (sqlite3.Error, OSError) as error:
            self._tell(f"cannot be used ({error}); embeddings are kept in memory")

    def _run(self, work: Callable[[sqlite3.Connection], None]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A connection per call: none is shared between threads or inherited by a forked process.
        with closing(sqlite3.connect(self._path, timeout=_LOCK_SECONDS)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS embeddings (name BLOB PRIMARY KEY, checksum INTEGER, dtype TEXT, row BLOB)"
            )
            work(connection)

    def _tell(self, what: str) -> None:
        if not self._told:
            _LOG.warning("The embedding cache %s %s.", self._path, what)
            self._told = True
