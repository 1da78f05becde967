"""Files that appear whole or not at all: written beside their place and moved there at the end."""

import contextlib
import glob
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def whole_file(path: Path, one_of_many: bool = False) -> Iterator[Path]:
    """A name beside `path` to write to; the file takes the place of `path` when the block ends well, else it goes.

    Folders that are missing are made. The name is that of this process and thread, so that nobody else who writes
    `path` at the same time gets in the way. It ends in ".part" whatever `path` ends in: name the format where a library
    would tell it from the name. What a killed process left of `path` is removed, unless it is `one_of_many` in its
    folder, which would have to be searched for each. Raises `OSError`, naming `path`, before the block where nothing
    can be written there.
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
        raise OSError(error.errno, error.strerror, str(path)) from error  # the name that people know
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str, one_of_many: bool = False) -> None:
    """Write bytes, or text as UTF-8, by `whole_file`; raises `OSError`."""
    with whole_file(path, one_of_many) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


def _remove_abandoned(path: Path) -> None:
    """Remove the unfinished files of `path` whose process is gone."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*-*.part"):
        process = part.name.removeprefix(f".{path.name}.").partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
