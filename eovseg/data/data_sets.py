"""The supported data sets by name."""

from pathlib import Path

from eovseg.data.labelled_folder import LabelledFolder
from eovseg.data.layouts import ade20k, ade20k_full, cityscapes, coco, mapillary, own, pascal_context, pascal_voc
from eovseg.data.layouts.layout import Layout, Part
from eovseg.errors import ConfigError, DataError

DATA_SETS: tuple[Layout, ...] = (
    coco.PANOPTIC,
    coco.INSTANCES,
    ade20k.LAYOUT,
    ade20k_full.LAYOUT,
    pascal_voc.LAYOUT,
    pascal_context.LAYOUT_59,
    pascal_context.LAYOUT_459,
    cityscapes.LAYOUT,
    mapillary.LAYOUT,
    mapillary.LAYOUT_2,
    own.PANOPTIC,
    own.INSTANCES,
    own.MASKS,
)
DATA_SET_NAMES = tuple(layout.name for layout in DATA_SETS)


def data_set(name: str) -> Layout:
    """The data set of this name; raises `ConfigError` for any other."""
    for layout in DATA_SETS:
        if layout.name == name:
            return layout
    raise ConfigError(f'There is no data set "{name}"; choose from {", ".join(DATA_SET_NAMES)}.')


def open_data_set(name: str, root: Path | str, split: str | None = None) -> LabelledFolder:
    """The photos and labels of one split, by default the data set's first one.

    Raises `ConfigError` for an unknown name or split, and `DataError` for the first missing or broken file.
    """
    layout = data_set(name)
    split = chosen_split(layout, split)
    missing = missing_parts(layout, Path(root), split)
    if missing:
        raise DataError(f"{missing[0].path} is missing: {missing[0].hint}. {layout.title} is at {layout.page}.")
    return layout.open(Path(root), split)


def chosen_split(layout: Layout, split: str | None) -> str:
    """`split`, or the data set's first one if None; raises `ConfigError` for an unknown split."""
    if split is None:
        return layout.splits[0]
    if split not in layout.splits:
        raise ConfigError(f'{layout.name} has no split "{split}"; choose from {", ".join(layout.splits)}.')
    return split


def missing_parts(layout: Layout, root: Path, split: str) -> tuple[Part, ...]:
    """The required files and folders of a split that do not exist."""
    return tuple(part for part in layout.parts(root, split) if part.needed and not part.path.exists())


def existing_splits(layout: Layout, root: Path) -> tuple[str, ...]:
    """The splits with at least one file of their own ("all" only if there is no other), else the first split."""
    paths = {split: {part.path for part in layout.parts(root, split) if part.needed} for split in layout.splits}
    found = []
    for split, needed in paths.items():
        others = set().union(*(theirs for name, theirs in paths.items() if name != split))
        if any(path.exists() for path in needed - others):
            found.append(split)
    return tuple(split for split in found if split != "all") or tuple(found) or layout.splits[:1]
