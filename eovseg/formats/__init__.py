"""Results in the file formats of labelling and training tools, and as pictures; every kind of file has one name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from eovseg.formats import coco, cvat, label_studio, labelme, pictures, yolo
from eovseg.formats.photo import PhotoFile

if TYPE_CHECKING:
    from eovseg.segmented import SegmentedPhoto
    from eovseg.vocabulary import Vocabulary


@dataclass(frozen=True)
class Format:
    """A kind of file: its `title`, the `path` of a photo's file with * for the stem, and its `content`.

    `needs` names other kinds of files that belong to it. `shared` is the name and content of a file that all photos of
    a folder share.
    """

    title: str
    path: str
    content: Callable[["SegmentedPhoto", PhotoFile, Path], bytes]
    needs: tuple[str, ...] = ()
    shared: tuple[str, Callable[["Vocabulary"], bytes]] | None = None


# Other files of a result, and the endings of their names.
FILES = {
    "overlay": "overlay.png",
    "panoptic-png": "panoptic.png",
    "panoptic-json": "panoptic.json",
    "segments": "segments.json",
}
# The keys are used by `eovseg segment --write`, `Result.save(formats=…)` and the page.
FORMATS = {
    "yolo": Format(
        "YOLO segmentation", "yolo/labels/*.txt", yolo.label_lines, shared=("yolo/data.yaml", yolo.data_yaml)
    ),
    "coco-instances": Format("COCO instances", f"*{coco.INSTANCES}", coco.instances),
    "coco-panoptic": Format("COCO panoptic", f"*{coco.PANOPTIC}", coco.panoptic, ("panoptic-png",)),
    "labelme": Format("LabelMe", "labelme/*.json", labelme.document),
    "label-studio": Format("Label Studio", "*-label-studio.json", label_studio.tasks),
    "cvat": Format("CVAT", "*-cvat.xml", cvat.document),
}
# Pictures with a subject; see eovseg/pictures.py.
PICTURES = {
    "cutouts": Format("Cut-outs", "*-cutouts.zip", pictures.cutouts),
    "spotlight": Format("Spotlight", "*-spotlight.png", pictures.content("spotlight")),
    "blurred": Format("Blurred background", "*-blurred.png", pictures.content("blurred")),
    "grey": Format("Grey background", "*-grey.png", pictures.content("grey")),
    "outlines": Format("Outlines", "*-outlines.png", pictures.content("outlines")),
}
WRITERS = FORMATS | PICTURES


def with_needs(kinds: Iterable[str]) -> tuple[str, ...]:
    """`kinds` of files and those that they need, without duplicates."""
    return tuple(dict.fromkeys(one for kind in kinds for one in (*needs(kind), kind)))


def needs(kind: str) -> tuple[str, ...]:
    """The other kinds of files that a kind needs."""
    return WRITERS[kind].needs if kind in WRITERS else ()


def path_of(kind: str, stem: str) -> PurePosixPath:
    """Path of a photo's file relative to the folder of results; `stem` includes the photo's folders."""
    return PurePosixPath(WRITERS[kind].path.replace("*", stem))
