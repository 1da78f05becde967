"""The supported data sets by name."""

from pathlib import Path

from eovseg.data.labelled_folder import LabelledFolder
from eovseg.data.layouts import ade20k, ade20k_full, cityscapes, coco, mapillary, own, pascal_context, pascal_voc
from eovseg.data.layouts.layout import Layout, Part
from eovseg.errors import ConfigError, DataError
from eovseg.photo_folders import walk

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
_MARKS = {  # files that identify the layout of a user's folder
    **{f"panoptic{split}.json": own.PANOPTIC.name for split in ("", "_train", "_val")},
    **{f"instances{split}.json": own.INSTANCES.name for split in ("", "_train", "_val")},
    "classes.json": own.MASKS.name,
    "classes.txt": own.MASKS.name,
}


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
    if missing := missing_files(layout, Path(root), split):
        raise DataError(f"{missing} {layout.source}.")
    return layout.open(Path(root), split)


def detected(root: Path) -> str | None:
    """The name of the layout of a user's own folder, or None if it has no file that identifies one."""
    return next((name for mark, name in _MARKS.items() if (root / mark).is_file()), None)


def unrecognised(root: Path) -> DataError:
    """The error for a folder whose layout is not detected."""
    if problem := _folder_problem(root):
        return DataError(problem)
    found = "photos, but no labels" if any(walk(root)) else "neither photos nor labels"
    return DataError(
        f"{root} has {found} that are recognised: it lacks panoptic.json, instances.json, and classes.txt for masks "
        f"({own.PAGE}). For a known data set, give its name with --dataset."
    )


def missing_files(layout: Layout, root: Path, split: str) -> str:
    """A sentence about the first missing file of a split, or about the folder itself; "" if nothing is missing."""
    missing = missing_parts(layout, root, split)
    if not missing:
        return ""
    if problem := _folder_problem(root):
        return problem
    others = [other for other in layout.splits if other != split and not missing_parts(layout, root, other)]
    if others == ["all"]:
        return f"{root} is not divided into train and val; omit the split."
    if others:
        splits = f"split{'s' if len(others) > 1 else ''} {' and '.join(others)}"
        return f"{missing[0].path} is missing: {missing[0].hint}. The folder has the {splits}."
    photos, *labels = layout.parts(root, split)
    unlabelled = not any(part.path.exists() for part in labels)
    if unlabelled and (other := detected(root)) not in (None, layout.name):
        return f"{root} has the files of {other} (give this name), not those of {layout.name}."
    if "all" in layout.splits and unlabelled and any(walk(root)):
        needed = ", ".join(part.path.relative_to(root).as_posix() for part in (photos, *labels))
        return f"{root} has photos, but no labels; {layout.name} needs {needed}."
    return f"{missing[0].path} is missing: {missing[0].hint}."


def _folder_problem(root: Path) -> str:
    """A sentence if `root` is not a folder or is empty, else ""."""
    if not root.is_dir():
        return f"{root} is a file; give its folder." if root.exists() else f"The folder {root} does not exist."
    return "" if any(root.iterdir()) else f"The folder {root} is empty."


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
