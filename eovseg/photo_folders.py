"""Finds the photos in a folder, by the same rule for all commands and data sets, and counts the files skipped."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

# File extensions of the formats supported by `eovseg.images`.
PHOTO_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif",
)  # fmt: skip
# Notes and annotations beside photos, which nobody expects to be read as photos.
_TEXTS = frozenset({".md", ".txt", ".json", ".jsonl", ".csv", ".xml", ".yaml", ".yml"})
# Files and folders that operating systems create without a leading dot.
_SYSTEM = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"})


@dataclass
class SkippedFiles:
    """The files skipped by a walk: the number of each kind, and the first one."""

    kinds: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Counts a file or folder by its relative path `name`; `kind` is a plural."""
        count, first = self.kinds.get(kind, (0, name))
        self.kinds[kind] = (count + 1, min(first, name))

    def note(self, folder: str | os.PathLike[str]) -> str:
        """A message about what was skipped in `folder`; "" if nothing was."""
        if not self.kinds:
            return ""
        listed = (
            f'{kind}: {count:,} ("{first}"{", ..." if count > 1 else ""})'
            for kind, (count, first) in sorted(self.kinds.items())
        )
        return f'Skipped in "{os.fspath(folder)}": {"; ".join(listed)}. Photos end in {", ".join(PHOTO_SUFFIXES)}.'


def is_hidden(name: str) -> bool:
    """Whether a file or folder was created by the system or a tool: `._0.jpg`, `.ipynb_checkpoints`, `__MACOSX`."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def walk(
    folder: str | os.PathLike[str],
    recursive: bool = True,
    suffixes: Sequence[str] = PHOTO_SUFFIXES,
    skipped: SkippedFiles | None = None,
    own: Callable[["os.DirEntry[str]"], bool] = lambda entry: False,
) -> Iterator[tuple[str, str]]:
    """Yields the photos of a folder as (relative folder, file name), those of `folder` before those of its subfolders.

    Each level is sorted by name. The relative folder uses "/" and is "" for `folder` itself. Photos have one of the
    extensions `suffixes` in any case. Hidden files and folders (`is_hidden`) are skipped, as are links to folders that
    are parents or are walked anyway; `skipped` counts them, except for text files such as README.md. Entries for which
    `own` returns True are ignored and not counted. A missing folder has no photos.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 (as below)
        return
    endings = tuple(suffix.lower() for suffix in suffixes)
    walking = _Walk(recursive, endings, SkippedFiles() if skipped is None else skipped, own, os.path.realpath(folder))
    yield from walking.level(os.fspath(folder), "")


@dataclass
class _Walk:
    """One call of `walk`; `root` is its folder and `linked` the targets of followed links, as real paths."""

    recursive: bool
    endings: tuple[str, ...]
    skipped: SkippedFiles
    own: Callable[["os.DirEntry[str]"], bool]
    root: str
    linked: set[str] = field(default_factory=set)

    def level(self, folder: str, below: str, behind_link: bool = False) -> Iterator[tuple[str, str]]:
        """The photos of `folder`, whose path relative to the root is `below`, and of its subfolders."""
        photos: list[str] = []
        folders: dict[str, bool] = {}
        with os.scandir(folder) as entries:
            for entry in entries:
                if self.own(entry):
                    continue
                kind = self._kind(entry)
                if kind == "photo":
                    photos.append(entry.name)
                elif kind == "folder to read":
                    folders[entry.name] = behind_link or entry.is_symlink()
                elif kind:
                    self.skipped.add(kind, _joined(below, entry.name))
        for name in sorted(photos):
            yield below, name
        for name, linked in sorted(folders.items()):
            path = os.path.join(folder, name)  # noqa: PTH118 (Path objects would cost seconds)
            if linked and self._is_walked_elsewhere(os.path.realpath(path)):
                self.skipped.add("linked folders that are read elsewhere", _joined(below, name))
            else:
                yield from self.level(path, _joined(below, name), linked)

    def _is_walked_elsewhere(self, folder: str) -> bool:
        """Whether a linked folder is walked elsewhere or contains the root; if not, it is marked as walked."""
        if folder in self.linked or _is_inside(folder, self.root) or _is_inside(self.root, folder):
            return True
        self.linked.add(folder)
        return False

    def _kind(self, entry: "os.DirEntry[str]") -> str:
        """ "photo", "folder to read", or the kind under which the entry is counted as skipped; "" to ignore it."""
        name, hidden = entry.name, is_hidden(entry.name)
        if entry.is_dir():
            if hidden:
                return "hidden folders" if self.recursive else ""
            return "folder to read" if self.recursive else "folders"
        if name.lower().endswith(self.endings):
            return "hidden files" if hidden else "photo"
        suffix = PurePath(name).suffix.lower()
        return "" if hidden or suffix in _TEXTS else f"{suffix} files" if suffix else "files without an extension"


def _is_inside(folder: str, other: str) -> bool:
    """Whether a folder is `other` or inside it; both are real paths."""
    return folder == other or folder.startswith(other.rstrip(os.sep) + os.sep)


def _joined(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name
