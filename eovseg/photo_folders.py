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
    `suffixes`, in upper or lower case. Hidden files and folders (`is_hidden`) and links to folders are passed over;
    `left_out` counts what is. Entries that are the program's `own` are neither photos nor counted. A folder that is
    missing has no photos.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 (as below)
        return
    endings = tuple(suffix.lower() for suffix in suffixes)
    yield from _level(os.fspath(folder), "", recursive, endings, LeftOut() if left_out is None else left_out, own)


def _level(
    folder: str,
    below: str,
    recursive: bool,
    endings: tuple[str, ...],
    left_out: LeftOut,
    own: Callable[["os.DirEntry[str]"], bool],
) -> Iterator[tuple[str, str]]:
    photos: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if own(entry):
                continue
            kind = _kind(entry, recursive, endings)
            if kind in ("photo", "folder to read"):
                (photos if kind == "photo" else folders).append(entry.name)
            elif kind:
                left_out.add(kind, _joined(below, entry.name))
    for name in sorted(photos):
        yield below, name
    for name in sorted(folders):
        yield from _level(os.path.join(folder, name), _joined(below, name), recursive, endings, left_out, own)  # noqa: PTH118 (a Path each would cost seconds)


def _kind(entry: "os.DirEntry[str]", recursive: bool, endings: tuple[str, ...]) -> str:
    """ "photo", "folder to read", else as what the entry is counted; "" for what nobody would miss."""
    name, hidden = entry.name, is_hidden(entry.name)
    if entry.is_dir():
        if hidden:
            return "hidden folders" if recursive else ""
        if entry.is_symlink():  # a link may lead back up
            return "linked folders"
        return "folder to read" if recursive else "folders"
    if name.lower().endswith(endings):
        return "hidden files" if hidden else "photo"
    suffix = PurePath(name).suffix.lower()
    return "" if hidden else f"{suffix} files" if suffix else "files without an ending"


def _joined(below: str, name: str) -> str:
    return f"{below}/{name}" if below else name
