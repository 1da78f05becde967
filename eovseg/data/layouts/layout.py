"""The description that each data set's module provides."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eovseg.data.labelled_folder import LabelKind, LabelledFolder

SPLIT_FOLDERS = {"train": "training", "val": "validation"}

# (root, split, output folder or None) -> sentence describing what was built
Prepare = Callable[[Path, str, Path | None], str]


@dataclass(frozen=True)
class Part:
    """A file or folder of a layout; `hint` says how to get it or, if it is not `needed`, what it is for."""

    path: Path
    hint: str
    needed: bool = True


@dataclass(frozen=True)
class Layout:
    """One data set: `measures` lists its metrics, `page` is its official page or, for
    your own data, the part of the manual.

    `parts(root, split)` lists the files of a split, `open(root, split)` reads it, and `prepare` builds what the
    official download lacks. `labels` defines the meaning of unlabelled pixels in training (see `eovseg.data.sources`).
    """

    name: str
    title: str
    page: str
    measures: str
    vocabulary: str | None
    parts: Callable[[Path, str], tuple[Part, ...]]
    open: Callable[[Path, str], LabelledFolder]
    prepare: Prepare | None = None
    splits: tuple[str, ...] = ("val", "train")
    labels: LabelKind = "panoptic"

    @property
    def source(self) -> str:
        """Where to get the files or, for your own data, where the format is described."""
        return f"{'Get it from' if self.page.startswith('http') else 'The format is described in'} {self.page}"


def home(root: Path, mark: str, *names: str) -> Path:
    """`root` if it contains `mark`, else the first of its subfolders `names` that does, else `root`."""
    return next((path for path in (root, *(root / name for name in names)) if (path / mark).exists()), root)
