"""Which photos a run covers and what their results are called: the same on every machine and at every resume.

Only names are held, about 250 bytes a photo; pixels are read when their turn comes.
"""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import NamedTuple

from eovseg.errors import ImageError
from eovseg.result import FILES, clean_stem

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


class Photo(NamedTuple):
    """A photo's path as it was given, and where its results go: `folder/stem-...` below the output folder."""

    path: str
    folder: str  # of a recursive walk: below the folder that was given, "" for that folder itself
    stem: str

    @property
    def target(self) -> str:
        """Folder and stem of the results below the output folder, with "/"."""
        return f"{self.folder}/{self.stem}" if self.folder else self.stem

    def share(self, shards: int) -> int:
        """Which of `shards` parts the photo belongs to, from 0 on.

        It depends on this photo's name alone, so that no photo is lost where one machine already sees a new file and
        another one does not, nor where machines mount the folder in different places.
        """
        name = f"{self.folder}/{PurePath(self.path).name}"
        # A checksum such as CRC-32 would give numbered names all to one of two parts.
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % shards


def list_photos(given: Iterable[str], recursive: bool = False, output: Path | None = None) -> list[Photo]:
    """Every photo that `given` names, once each, in order: files, folders (sorted) and globs (sorted).

    `recursive` also reads the folders inside, whose structure the results keep. The run's own results in `output` are
    no photos. Raises `ImageError` for a folder without photos and a glob without files.
    """
    found: dict[str, tuple[str, str]] = {}
    for path, folder in _expand(given, recursive, output.resolve() if output else None):
        found.setdefault(os.path.abspath(path), (path, folder))  # noqa: PTH100 (a Path each would cost seconds)
    return _with_stems(list(found.values()))


def _expand(given: Iterable[str], recursive: bool, output: Path | None) -> Iterator[tuple[str, str]]:
    """Path and folder of the results of every photo."""
    for text in given:
        path = Path(text)
        if path.is_dir():
            empty = True
            for photo in _walk(text, "", recursive, output):
                empty = False
                yield photo
            if empty:
                hint = "" if recursive else "; --recursive also looks into the folders inside"
                raise ImageError(f"The folder {text} holds no photo ({', '.join(PHOTO_SUFFIXES)}){hint}.")
        elif glob.has_magic(text) and not path.exists():
            matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns too)
            if not matches:
                raise ImageError(f"No file matches {text}.")
            yield from ((match, "") for match in matches)
        else:
            yield text, ""


def _walk(folder: str, below: str, recursive: bool, output: Path | None) -> Iterator[tuple[str, str]]:
    """Photos of one folder, then of the folders inside, each sorted by name; hidden ones and links are left out."""
    photos, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if recursive and not entry.is_symlink():  # a link may lead back up
                    folders.append(entry.name)
            elif entry.name.lower().endswith(PHOTO_SUFFIXES):
                photos.append(entry.name)
    if output is not None and Path(folder).resolve() == output:
        photos = [name for name in photos if not _is_result(output, name)]
    for name in sorted(photos):
        yield os.path.join(folder, name), below  # noqa: PTH118 (as above)
    for name in sorted(folders):
        inner = Path(folder) / name
        if output is None or inner.resolve() != output:
            yield from _walk(str(inner), f"{below}/{name}" if below else name, recursive, output)


def _is_result(output: Path, name: str) -> bool:
    """Whether a picture in the output folder was written by an earlier run and is no photo."""
    stem = name.removesuffix(f"-{FILES['overlay']}").removesuffix(f"-{FILES['panoptic-png']}")
    document = output / f"{stem}-{FILES['panoptic-json']}"
    return stem != name and (document.exists() or any(output.glob("index*.jsonl")))


def _with_stems(found: Sequence[tuple[str, str]]) -> list[Photo]:
    """Photos with stems that no two results of a folder share, whatever the case of their letters.

    A photo has its own stem where it is the only one of that name, else the first of "stem-jpg", "folder-stem" and
    "folder-stem-jpg" that is; as a last resort a digest of its path is added.
    """
    stems: list[str] = [""] * len(found)
    pending = list(range(len(found)))
    taken: set[tuple[str, str]] = set()
    for level in range(4):
        names = {index: _stem(found[index][0], level) for index in pending}
        counts = Counter((found[index][1], name.casefold()) for index, name in names.items())
        shared = []
        for index, name in names.items():
            key = (found[index][1], name.casefold())
            if counts[key] == 1 and key not in taken:
                stems[index] = name
            else:
                shared.append(index)
        taken.update((found[index][1], stems[index].casefold()) for index in pending if stems[index])
        pending = shared
    for index in pending:
        path = os.path.abspath(found[index][0])  # noqa: PTH100
        digest = blake2b(path.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        stems[index] = f"{_stem(found[index][0], 0)}-{digest}"
    return [Photo(path, folder, stem) for (path, folder), stem in zip(found, stems, strict=True)]


def _stem(path: str, level: int) -> str:
    name = PurePath(path)
    if level == 0:
        return clean_stem(name.stem)
    parts = [Path(path).resolve().parent.name] if level >= 2 else []
    return clean_stem("-".join([*parts, name.stem, *([name.suffix[1:]] if level in (1, 3) else [])]))
