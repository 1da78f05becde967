"""Which files of a folder are photos: one rule for every command and data set, and a count of what it leaves out."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

# Endings of the formats that `eovseg.images` reads.
PHOTO_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif",
)  # fmt: skip
# What systems and tools put beside photos, without a dot before its name.
_SYSTEM = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "thumbs.db", "desktop.ini"})


@dataclass
class LeftOut:
    """What a walk has passed over: how many files of each kind, and the first of them."""

    kinds: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: str, name: str) -> None:
        """Count a file or folder `name`, given with the folders above it; `kind` in the plural."""
        count, first = self.kinds.get(kind, (0, name))
        self.kinds[kind] = (count + 1, min(first, name))

    def note(self, folder: str | os.PathLike[str]) -> str:
        """What was left out of `folder` in one sentence; "" where that is nothing."""
        if not self.kinds:
            return ""
        listed = (
            f'{kind}: {count:,} ("{first}"{", ..." if count > 1 else ""})'
            for kind, (count, first) in sorted(self.kinds.items())
        )
        return f'Left out of "{os.fspath(folder)}": {"; ".join(listed)}. Photos end in {", ".join(PHOTO_SUFFIXES)}.'


def is_hidden(name: str) -> bool:
    """Whether a file or folder belongs to a system or a tool: `._0.jpg`, `.ipynb_checkpoints`, `__MACOSX`."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def walk(
    folder: str | os.PathLike[str],
    recursive: bool = True,
    suffixes: Sequence[str] = PHOTO_SUFFIXES,
    left_out: LeftOut | None = None,
    own: Callable[["os.DirEntry[str]"], bool] = lambda entry: False,
) -> Iterator[tuple[str, str]]:
    """Every photo of a folder as (folder below `folder`, file name): its own first, then those of the folders inside.

    Each level is sorted by name, the folder is written with "/" and "" for `folder` itself. Photos end in one of
    `suffixes`, in upper or lower case. Hidden files and folders (`is_hidden`) are passed over, and of links to folders
    those that lead back, into a folder above or one that is read anyway; `left_out` counts what is. Entries that are
    the program's `own` are neither photos nor counted. A folder that is missing has no photos.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 (as below)
        return
    endings = tuple(suffix.lower() for suffix in suffixes)
    walking = _Walk(recursive, endings, LeftOut() if left_out is None else left_out, own, os.path.realpath(folder))
    yield from walking.level(os.fspath(folder), "")


@dataclass
class _Walk:
    """One call of `walk`; `root` is its folder and `linked` those that links led to, as they are really called."""

    recursive: bool
    endings: tuple[str, ...]
    left_out: LeftOut
    own: Callable[["os.DirEntry[str]"], bool]
    root: str
    linked: set[str] = field(default_factory=set)

    def level(self, folder: str, below: str, behind_link: bool = False) -> Iterator[tuple[str, str]]:
        """The photos of `folder`, `below` the walk's own, and of the folders inside."""
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
                    self.left_out.add(kind, _joined(below, entry.name))
        for name in sorted(photos):
            yield below, name
        for name, linked in sorted(folders.items()):
            path = os.path.join(folder, name)  # noqa: PTH118 (a Path each would cost seconds)
            if linked and self._leads_back(os.path.realpath(path)):
                self.left_out.add("linked folders that lead back", _joined(below, name))
            else:
                yield from self.level(path, _joined(below, name), linked)

    def _leads_back(self, folder: str) -> bool:
        """Whether a folder behind a link was or will be read, or holds the walk's own; else it counts as read."""
        if folder in self.linked or _is_inside(folder, self.root) or _is_inside(self.root, folder):
            return True
        self.linked.add(folder)
        return False

    def _kind(self, entry: "os.DirEntry[str]") -> str:
        """ "photo", "folder to read", else as what the entry is counted; "" for what nobody would miss."""
        name, hidden = entry.name, is_hidden(entry.name)
        if entry.is_dir():
            if hidden:
                return "hidden folders" if self.recursive else ""
            return "folder to read" if self.recursive else "folders"
        if name.lower().endswith(self.endings):
            return "hidden files" if hidden else "photo"
        suffix = PurePath(name).suffix.lower()
        return "" if hidden else f"{suffix} files" if suffix else "files without an ending"


def _is_inside(folder: str, other: str) -> bool:
    """Whether a folder is `other` or lies in it; both as `os.path.realpath` gives them."""
    return folder == other or folder.startswith(other.rstrip(os.sep) + os.sep)


def _joined(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name
