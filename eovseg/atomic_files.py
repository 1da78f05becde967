"""Atomic writes: a file is written under a temporary name and then renamed."""

import contextlib
import glob
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def atomic_file(path: Path, one_of_many: bool = False) -> Iterator[Path]:
    """A temporary file next to `path`, which replaces `path` if the block succeeds and is deleted otherwise.

    Creates missing folders. The temporary name includes process and thread, so concurrent writers of `path` do not
    conflict. It always ends in ".part", so pass the format to libraries that infer it from the name. Temporary
    files of killed processes are removed, unless `one_of_many` is set, because searching a large folder is slow.
    Raises `OSError`, naming `path`, before the block if the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not one_of_many:
        _remove_abandoned(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.part")
    try:
        part.touch()
        yield part
        os.replace(part, path)
    except OSError as error:
        if str(error.filename) != str(part):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # report the final name
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes | str, one_of_many: bool = False) -> None:
    """Writes bytes, or text as UTF-8, with `atomic_file`; raises `OSError`."""
    with atomic_file(path, one_of_many) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def _remove_abandoned(path: Path) -> None:
    """Removes temporary files of `path` whose process no longer exists."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*-*.part"):
        process = part.name.removeprefix(f".{path.name}.").partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
