"""Atomic writes, also with concurrent writers and after errors."""

import ast
import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eovseg.atomic_files import atomic_file, write_atomically

PACKAGE = Path(__file__).parents[1] / "eovseg"


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with atomic_file(path) as part:
        assert part.parent == path.parent and f".{os.getpid()}-" in part.name
        part.write_text("1")
        assert not path.exists()
    assert path.read_text() == "1" and list(path.parent.iterdir()) == [path]
    write_atomically(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    with pytest.raises(FileNotFoundError), atomic_file(path):
        (tmp_path / "missing").read_bytes()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_interfere(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    with atomic_file(path) as first:
        first.write_text("first")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(write_atomically, path, b"second").result()
        assert path.read_bytes() == b"second" and first.read_text() == "first"
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left, own = (tmp_path / f".a[1].mp4.{process}-7.part" for process in (int(ended.stdout), os.getpid()))
    other = tmp_path / f".b.mp4.{int(ended.stdout)}-7.part"
    for path in (left, own, other):
        path.touch()
    write_atomically(tmp_path / "a[1].mp4", b"1", one_of_many=True)
    assert left.exists()
    write_atomically(tmp_path / "a[1].mp4", b"1")
    assert not left.exists() and own.exists() and other.exists()


def test_a_system_error_names_the_file_and_not_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(tmp_path / "a.json", b"1")
    assert caught.value.filename == str(tmp_path / "a.json") and not any(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError) as caught, atomic_file(tmp_path / "b.json"):
        (tmp_path / "other").read_bytes()
    assert str(caught.value.filename) == str(tmp_path / "other")


def test_no_other_module_moves_files_into_place() -> None:
    """All modules use `atomic_file`, except for what it does not support."""
    allowed = {
        "atomic_files.py",
        "checkpoints.py",  # a resumable download, which needs a fixed name
        "fast/openvino.py",  # two files that refer to each other, written in a temporary folder
        "data/layouts/building.py",  # a folder
    }
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.replace", "os.rename", "shutil.move"):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == allowed
