"""A cache of word embeddings, in memory and on disk.

An embedding depends on the text encoder, the prompt templates and the word, so adding a word to a vocabulary encodes
just that word. Words are stored as hashes, so the file does not reveal what users typed.
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
_FILE_NAME = "embeddings-1.sqlite"  # the number is the version of the table's schema
_QUERY_ROWS = 500  # old builds of SQLite allow 999 parameters per statement
_ENCODE_WORDS = 512  # per batch; an interrupted run loses at most one batch
_LOCK_SECONDS = 5.0
_UNIT_TOLERANCE = 1e-6


def default_cache_directory() -> Path:
    """The folder in the environment variable `EOVSEG_CACHE`, else "eovseg" in the platform's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("eovseg", appauthor=False)


class EmbeddingCache:
    """Embeddings of words, each encoded once. Thread-safe; several processes may share the folder.

    `key` identifies the encoder: text encoder, weights, templates and precision.
    `encode` turns n words into (n, dimension) rows, including prompts; float64 is kept, anything else becomes float32.
    `directory` None disables the disk cache; `encoded_words` counts the words passed to `encode`.
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
        # Serialises encoding; threads whose words are cached do not wait for it.
        self._encode_lock = threading.Lock()
        self._disk = _DiskStore(directory / _FILE_NAME, dimension, disk_bytes) if directory else None

    def embed(self, words: Sequence[str]) -> np.ndarray:
        """(n, dimension) L2-normalised rows of the n `words`, float32 (float64 if `encode` returns float64).

        Raises ValueError if `encode` returns a wrong shape or a row that is zero or not finite.
        """
        rows = self._recall(words)
        if len(rows) < len(set(words)):
            with self._encode_lock:
                # Another thread may have encoded some of them in the meantime.
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
        """Adds `rows` to the memory cache, evicting the least recently used ones above the limit."""
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
                f"encode returned an array of shape {encoded.shape} for {len(words)} words, "
                f"expected ({len(words)}, {self.dimension})."
            )
        encoded = encoded.astype(np.float64 if encoded.dtype == np.float64 else np.float32)  # always a copy
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
    """Rows by hash in one SQLite file. A damaged file is recreated; one that cannot be accessed is ignored."""

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
        """Above the size limit, deletes the older half of the rows; SQLite reuses their pages."""

        def pragma(name: str) -> int:
            return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

        if (pragma("page_count") - pragma("freelist_count")) * pragma("page_size") > self._limit_bytes:
            connection.execute(
                "DELETE FROM embeddings WHERE rowid IN (SELECT rowid FROM embeddings ORDER BY rowid "
                "LIMIT (SELECT (COUNT(*) + 1) / 2 FROM embeddings))"
            )

    def _unpack(self, checksum: object, dtype: object, blob: object) -> np.ndarray | None:
        """A stored row, or None if it is corrupt."""
        if dtype not in ("float32", "float64") or not isinstance(blob, bytes) or zlib.crc32(blob) != checksum:
            return None
        row = np.frombuffer(blob, dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype)
        return row if row.shape == (self._dimension,) else None

    def _attempt(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Runs `work` in a transaction. A failure is not fatal: embeddings are then cached in memory only."""
        try:
            try:
                self._run(work)
            except sqlite3.OperationalError:
                raise  # locked, full or unwritable: the file may be intact, so keep it
            except sqlite3.DatabaseError as error:
                self._tell(f"is damaged and will be recreated ({error})")
                self._path.unlink(missing_ok=True)
                self._path.with_name(self._path.name + "-journal").unlink(missing_ok=True)
                self._run(work)
        except (sqlite3.Error, OSError) as error:
            self._tell(f"cannot be used ({error}); embeddings are cached in memory only")

    def _run(self, work: Callable[[sqlite3.Connection], None]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # One connection per call, so none is shared between threads or inherited by a forked process.
        with closing(sqlite3.connect(self._path, timeout=_LOCK_SECONDS)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS embeddings (name BLOB PRIMARY KEY, checksum INTEGER, dtype TEXT, row BLOB)"
            )
            work(connection)

    def _tell(self, what: str) -> None:
        if not self._told:
            _LOG.warning("The embedding cache %s %s.", self._path, what)
            self._told = True
