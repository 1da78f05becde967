"""Files about all photos, written at the end of a run from the indexes of the output folder."""

from collections.abc import Sequence
from pathlib import Path

from eovseg.formats import path_of
from eovseg.formats.combined import COMBINED
from eovseg.segmenting.index import finished_targets
from eovseg.vocabulary import Vocabulary


def gather(folder: Path, settings: str, vocabulary: Vocabulary, files: Sequence[str]) -> None:
    """Writes the files about all photos for those kinds in `files` that have one.

    They cover all photos that any run in `folder` has finished with these `settings`, sorted by target, so resumed runs
    and shards produce the same files as a single run. Repeats until the indexes no longer change, to include shards
    that finish in the meantime. Raises `EovsegError` if writing fails.
    """
    kinds = [kind for kind in files if kind in COMBINED]
    state = None
    while kinds and state != (state := _state(folder)):
        finished = sorted(finished_targets(folder, settings))
        for kind in kinds:
            COMBINED[kind](folder, vocabulary, [one for one in finished if (folder / path_of(kind, one)).exists()])


def _state(folder: Path) -> list[tuple[str, int]]:
    return sorted((path.name, path.stat().st_size) for path in folder.glob("index*.jsonl"))
