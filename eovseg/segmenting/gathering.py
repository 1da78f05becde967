"""What is written over all photos at the end of a run, from what the indexes of the folder say is finished."""

from collections.abc import Sequence
from pathlib import Path

from eovseg.formats import path_of
from eovseg.formats.whole import WHOLE
from eovseg.segmenting.index import finished_targets
from eovseg.vocabulary import Vocabulary


def gather(folder: Path, settings: str, vocabulary: Vocabulary, files: Sequence[str]) -> None:
    """Write the documents over all photos for those of `files` that have one.

    The photos are all that any run in `folder` has finished with these `settings`, in the order of their targets: a
    resumed run and shards end with the same documents as one run. A shard that ends while this one writes would be
    missing, so it is done again until the indexes stay as they are. Raises `EovsegError` where writing fails.
    """
    kinds = [kind for kind in files if kind in WHOLE]
    state = None
    while kinds and state != (state := _state(folder)):
        finished = sorted(finished_targets(folder, settings))
        for kind in kinds:
            WHOLE[kind](folder, vocabulary, [one for one in finished if (folder / path_of(kind, one)).exists()])


def _state(folder: Path) -> list[tuple[str, int]]:
    return sorted((path.name, path.stat().st_size) for path in folder.glob("index*.jsonl"))
