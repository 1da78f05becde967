"""The index of a run: one JSON line per photo, appended after its files are written; used to resume."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from eovseg.errors import EovsegError
from eovseg.result import Result, file_of
from eovseg.segmenting.photos import Owners, Photo, version


class _Entry(NamedTuple):
    size: int
    modified: int
    target: str
    error: str | None


class Index:
    """Appends to the index of one process, and reads all indexes of the folder to find finished photos.

    A line contains `photo`, its `bytes` and `modified` (ns), `settings` (a digest of words and options) and either
    `files`, `width`, `height`, `unlabelled_fraction` and `segments`, or `error`. If a photo has several lines, the last
    one counts. `kinds`: the file kinds that must exist for a photo to count as finished.
    """

    def __init__(self, folder: Path, name: str, settings: str, kinds: Sequence[str]) -> None:
        self._folder = folder
        self._settings = settings
        self._kinds = tuple(kinds)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _open_whole(folder / name)  # first, to drop a truncated line
        self._known: dict[str, _Entry] = {}
        for path in sorted(folder.glob("index*.jsonl")):
            for line in read_index(path):
                self._read_line(line)

    def _read_line(self, line: dict[str, Any]) -> None:
        try:
            photo = line["photo"]
            if line["settings"] == self._settings:
                known = _Entry(line["bytes"], line["modified"], line.get("target", ""), line.get("error"))
                self._known[photo] = known
            else:
                self._known.pop(photo, None)  # overwritten by results with other settings
        except (KeyError, TypeError):
            return

    def finished(self, photo: Photo) -> bool:
        """Whether the photo is unchanged, has results with these settings, and all its files exist."""
        known = self._known.get(photo.path)
        if known is None or known.error is not None or version(photo.path) != (known.size, known.modified):
            return False
        return all((self._folder / file_of(kind, known.target)).exists() for kind in self._kinds)

    def add(self, photo: Photo, result: Result, files: Sequence[Path]) -> None:
        """Records a photo whose files are written."""
        height, width = result.segment_map.shape
        described = result.to_json()
        self._write(
            photo,
            target=photo.target,
            files=[path.relative_to(self._folder).as_posix() for path in files],
            width=width,
            height=height,
            unlabelled_fraction=described["unlabelled_fraction"],
            segments=described["segments"],
        )

    def add_failure(self, photo: Photo, sentence: str) -> None:
        """Records why a photo failed, only once even if the run is resumed."""
        known = self._known.get(photo.path)
        if known is None or known.error != sentence:
            self._write(photo, error=sentence)

    def _write(self, photo: Photo, **values: Any) -> None:
        size, modified = version(photo.path)
        line = {"photo": photo.path, "bytes": size, "modified": modified, "settings": self._settings, **values}
        try:
            self._file.write((json.dumps(line) + "\n").encode())
            self._file.flush()
        except OSError as error:
            reason = error.strerror or str(error)
            raise EovsegError(f'Results cannot be written to "{self._folder}" ({reason}).') from error

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def read_index(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of an index; incomplete lines, left by a concurrent or killed process, are skipped."""
    with path.open("rb") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and text.endswith(b"\n"):
                yield line


def finished_targets(folder: Path, settings: str) -> set[str]:
    """The targets of all photos in the indexes of `folder` whose latest results have these settings."""
    last: dict[str, tuple[str, str]] = {}  # by target: photo and settings
    targets: dict[str, str] = {}  # by photo
    for path in sorted(folder.glob("index*.jsonl")):
        for line in read_index(path):
            if {"target", "photo", "settings"} <= line.keys() and "error" not in line:
                last[str(line["target"])] = (str(line["photo"]), str(line["settings"]))
                targets[str(line["photo"])] = str(line["target"])
            elif "error" in line and (target := targets.pop(str(line.get("photo")), None)):
                last.pop(target, None)
    return {target for target, (_, digest) in last.items() if digest == settings}


def owners(folder: Path) -> Owners:
    """The photo that each target of earlier runs in `folder` belongs to, regardless of settings."""
    found: dict[str, tuple[str, int, int]] = {}
    for path in sorted(folder.glob("index*.jsonl")):
        for line in read_index(path):
            if {"target", "photo", "bytes", "modified"} <= line.keys():
                found[str(line["target"]).casefold()] = (str(line["photo"]), line["bytes"], line["modified"])
    return found


def _open_whole(path: Path) -> Any:
    """Opens a file for appending, removing an incomplete last line left by a killed process."""
    file = path.open("ab+")
    size = file.seek(0, os.SEEK_END)
    back = 0
    while back < size:
        step = min(65_536, size - back)
        file.seek(size - back - step)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            back += step - newline - 1
            break
        back += step
    if back:
        file.truncate(size - back)
        file.seek(0, os.SEEK_END)
    return file
