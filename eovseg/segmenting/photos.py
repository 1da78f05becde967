"""The photos of a run and the names of their results, which are the same on every machine and when resuming.

Only names are kept in memory, about 250 bytes per photo; pixels are read one photo at a time.
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
from eovseg.photo_folders import PHOTO_SUFFIXES, SkippedFiles, walk
from eovseg.result import file_of
from eovseg.stems import clean_stem

# Target in lower case -> path, size in bytes and modification time of the photo with these results.
Owners = Mapping[str, tuple[str, int, int]]


# Prefix and suffix of a photo's target in the names of its results, and the files shared by all photos.
_RESULTS = tuple(tuple(file_of(kind, "*").as_posix().split("*")) for kind in (*FILES, *WRITERS))
_SHARED = tuple(form.shared[0] for form in WRITERS.values() if form.shared)
_RESULT_ENDINGS = (*(after for _, after in _RESULTS), *(PurePath(name).name for name in _SHARED), ".jsonl")


class Photo(NamedTuple):
    """A photo's path as given, and the location of its results: `folder/stem-...` below the output folder."""

    path: str
    folder: str  # relative to the given folder in a recursive walk, "" for that folder itself
    stem: str

    @property
    def target(self) -> str:
        """Path prefix of the results relative to the output folder, with "/"."""
        return f"{self.folder}/{self.stem}" if self.folder else self.stem

    def share(self, shards: int) -> int:
        """The shard, from 0, that the photo belongs to.

        It depends only on the photo's name, so no photo is lost if machines see different files or mount the folder at
        different paths.
        """
        name = f"{self.folder}/{PurePath(self.path).name}"
        # A checksum such as CRC-32 can assign all numbered names to one of two shards.
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % shards


def list_photos(
    given: Iterable[str],
    recursive: bool = False,
    output: Path | None = None,
    owners: Owners | None = None,
    note: Callable[[str], object] = lambda sentence: None,
) -> list[Photo]:
    """All photos in `given` without duplicates, in order: files, folders (sorted) and glob patterns (sorted).

    `recursive` includes subfolders, whose structure is preserved in the results. Results of the run in `output` are not
    photos. Targets of other photos in `owners` are not reused. `note` receives a sentence for each folder in which
    files were skipped. Raises `ImageError` for a folder without photos or a pattern without matches.
    """
    found: dict[str, tuple[str, str]] = {}
    for path, folder in _expand(given, recursive, _own_results(output, owners or {}), note):
        found.setdefault(os.path.abspath(path), (path, folder))  # noqa: PTH100 (Path objects would cost seconds)
    stems = unique_stems(list(found.values()), owners)
    return [Photo(path, folder, stem) for (path, folder), stem in zip(found.values(), stems, strict=True)]


def _expand(
    given: Iterable[str],
    recursive: bool,
    own: Callable[["os.DirEntry[str]"], bool],
    note: Callable[[str], object],
) -> Iterator[tuple[str, str]]:
    """Path and result folder of every photo."""
    for text in given:
        path = Path(text)
        if path.is_dir():
            skipped, empty = SkippedFiles(), True
            for below, name in walk(text, recursive, skipped=skipped, own=own):
                empty = False
                yield os.path.join(text, below, name), below  # noqa: PTH118 (as above)
            if empty:
                hint = "" if recursive else "; add --recursive to include subfolders"
                left = skipped.note(text) or f"Photos end in {', '.join(PHOTO_SUFFIXES)}."
                raise ImageError(f"The folder {text} has no photos{hint}. {left}")
            if skipped.kinds:
                note(skipped.note(text))
        elif glob.has_magic(text) and not path.exists():
            matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (absolute patterns too)
            if not matches:
                raise ImageError(f"No file matches {text}.")
            yield from ((match, "") for match in matches)
        else:
            yield text, ""


def _own_results(output: Path | None, owners: Owners) -> Callable[["os.DirEntry[str]"], bool]:
    """A predicate that recognises the folder `output` and the results of earlier runs in it."""
    if output is None:
        return lambda entry: False
    root = output.resolve()

    @functools.lru_cache(maxsize=2)
    def below(folder: str) -> str | None:
        """The folder relative to `output` with a trailing "/", "" for `output` itself; None if outside."""
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
    """Whether a file, `name` relative to the output folder, was written by an earlier run."""
    if name in _SHARED or (name.startswith("index") and name.endswith(".jsonl") and "/" not in name):
        return True
    for before, after in _RESULTS:
        if not (name.startswith(before) and name.endswith(after)):
            continue
        target = name[len(before) : -len(after)]
        if target.casefold() in owners or (output / file_of("panoptic-json", target)).exists():
            return True
        # A file that was being written when a run was killed is not yet in an index.
        if "/" not in name and any(output.glob("index*.jsonl")):
            return True
    return False


def unique_stems(found: Sequence[tuple[str, str]], owners: Owners | None = None) -> list[str]:
    """A stem for each photo (path, result folder) that is unique within the folder, ignoring case.

    It is the photo's own stem if that is unique, else the first unique one of "stem-jpg", "folder-stem" and
    "folder-stem-jpg"; as a last resort, a digest of its path is added. Stems of other photos in `owners` are not used.
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
    """Whether no other photo has results with this name. A moved photo counts as the same one."""
    path, folder = photo
    owner = owners.get(Photo(path, folder, stem).target.casefold()) if owners else None
    if owner is None or os.path.abspath(owner[0]) == os.path.abspath(path):  # noqa: PTH100 (as above)
        return True
    return PurePath(owner[0]).name == PurePath(path).name and owner[1:] == version(path)


def version(path: str) -> tuple[int, int]:
    """Size in bytes and modification time (ns) of a file; -1 if it does not exist."""
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
