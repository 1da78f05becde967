"""Which photos a run covers and what their results are called: the same on every machine and at every resume.

Only names are held, about 250 bytes a photo; pixels are read when their turn comes.
"""

import functools
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import NamedTuple

from eovseg.errors import ImageError
from eovseg.formats import FILES, WRITERS
from eovseg.photo_folders import PHOTO_SUFFIXES, LeftOut, walk
from eovseg.result import clean_stem, file_of

# By target in lower case: path, bytes and time of last change of the photo whose results have that name.
Owners = Mapping[str, tuple[str, int, int]]


# What stands before and after a photo's target in the names of its results, and the files that all photos share.
_RESULTS = tuple(tuple(file_of(kind, "*").as_posix().split("*")) for kind in (*FILES, *WRITERS))
_SHARED = tuple(form.shared[0] for form in WRITERS.values() if form.shared)
_RESULT_ENDINGS = (*(after for _, after in _RESULTS), *(PurePath(name).name for name in _SHARED), ".jsonl")


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


def list_photos(
    given: Iterable[str],
    recursive: bool = False,
    output: Path | None = None,
    owners: Owners | None = None,
    note: Callable[[str], object] = lambda sentence: None,
) -> list[Photo]:
    """Every photo that `given` names, once each, in order: files, folders (sorted) and globs (sorted).

    `recursive` also reads the folders inside, whose structure the results keep. The run's own results in `output` are
    no photos. A target that belongs to another photo in `owners` is not taken. `note` gets a sentence for each folder
    of which something was left out. Raises `ImageError` for a folder without photos and a glob without files.
    """
    found: dict[str, tuple[str, str]] = {}
    for path, folder in _expand(given, recursive, _own_results(output, owners or {}), note):
        found.setdefault(os.path.abspath(path), (path, folder))  # noqa: PTH100 (a Path each would cost seconds)
    stems = unique_stems(list(found.values()), owners)
    return [Photo(path, folder, stem) for (path, folder), stem in zip(found.values(), stems, strict=True)]


def _expand(
    given: Iterable[str],
    recursive: bool,
    own: Callable[["os.DirEntry[str]"], bool],
    note: Callable[[str], object],
) -> Iterator[tuple[str, str]]:
    """Path and folder of the results of every photo."""
    for text in given:
        path = Path(text)
        if path.is_dir():
            left_out, empty = LeftOut(), True
            for below, name in walk(text, recursive, left_out=left_out, own=own):
                empty = False
                yield os.path.join(text, below, name), below  # noqa: PTH118 (as above)
            if empty:
                hint = "" if recursive else "; --recursive also looks into the folders inside"
                left = left_out.note(text) or f"Photos end in {', '.join(PHOTO_SUFFIXES)}."
                raise ImageError(f"The folder {text} holds no photo{hint}. {left}")
            if left_out.kinds:
                note(left_out.note(text))
        elif glob.has_magic(text) and not path.exists():
            matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns too)
            if not matches:
                raise ImageError(f"No file matches {text}.")
            yield from ((match, "") for match in matches)
        else:
            yield text, ""


def _own_results(output: Path | None, owners: Owners) -> Callable[["os.DirEntry[str]"], bool]:
    """Tells the folder `output`, and the results of earlier runs in it, from what a person has put there."""
    if output is None:
        return lambda entry: False
    root = output.resolve()

    @functools.lru_cache(maxsize=2)
    def below(folder: str) -> str | None:
        """The folder below `output`, with "/" at its end but for `output` itself; None for any other."""
        inside = Path(folder).resolve()
        return f"{inside.relative_to(root).as_posix()}/".removeprefix("./") if inside.is_relative_to(root) else None

    def own(entry: "os.DirEntry[str]") -> bool:
        if entry.is_dir():
            return below(entry.path) == ""
        if not entry.name.endswith(_RESULT_ENDINGS):
            return False
        folder = below(os.path.dirname(entry.path))  # noqa: PTH120 (as above)
        return folder is not None and _is_result(root, folder + entry.name, owners)

    return own


def _is_result(output: Path, name: str, owners: Owners) -> bool:
    """Whether a file, `name` with its folders below the output folder, was written by an earlier run."""
    if name in _SHARED or (name.startswith("index") and name.endswith(".jsonl") and "/" not in name):
        return True
    for before, after in _RESULTS:
        if not (name.startswith(before) and name.endswith(after)):
            continue
        target = name[len(before) : -len(after)]
        if target.casefold() in owners or (output / file_of("panoptic-json", target)).exists():
            return True
        # What a run was writing when it was cut off is in no index yet.
        if "/" not in name and any(output.glob("index*.jsonl")):
            return True
    return False


def unique_stems(found: Sequence[tuple[str, str]], owners: Owners | None = None) -> list[str]:
    """A stem for each photo (path, folder of its results) that no two of a folder share, whatever their letters' case.

    A photo has its own stem where it is the only one of that name, else the first of "stem-jpg", "folder-stem" and
    "folder-stem-jpg" that is; as a last resort a digest of its path is added. What `owners` gives to another photo is
    not taken either.
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
            if counts[key] == 1 and key not in taken and _is_free(owners, found[index], name):
                stems[index] = name
            else:
                shared.append(index)
        taken.update((found[index][1], stems[index].casefold()) for index in pending if stems[index])
        pending = shared
    for index in pending:
        path = os.path.abspath(found[index][0])  # noqa: PTH100
        digest = blake2b(path.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        stems[index] = f"{_stem(found[index][0], 0)}-{digest}"
    return stems


def _is_free(owners: Owners | None, photo: tuple[str, str], stem: str) -> bool:
    """Whether no other photo has results of this name. One that was moved since is the same photo."""
    path, folder = photo
    owner = owners.get(Photo(path, folder, stem).target.casefold()) if owners else None
    if owner is None or os.path.abspath(owner[0]) == os.path.abspath(path):  # noqa: PTH100 (as above)
        return True
    return PurePath(owner[0]).name == PurePath(path).name and owner[1:] == version(path)


def version(path: str) -> tuple[int, int]:
    """Bytes and time of last change (ns) of a file; -1 for one that is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 (called for every photo)
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _stem(path: str, level: int) -> str:
    name = PurePath(path)
    if level == 0:
        return clean_stem(name.stem)
    parts = [Path(path).resolve().parent.name] if level >= 2 else []
    return clean_stem("-".join([*parts, name.stem, *([name.suffix[1:]] if level in (1, 3) else [])]))
