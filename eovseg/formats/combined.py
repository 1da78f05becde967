"""One document for all photos of a folder, combined from the documents of the photos, which are read one by one.

The output depends only on the documents and the order of `targets` (stems of the photos, including their folders), so
a run that was resumed or divided into shards gives the same file as a single run. Only the names of the photos are kept
in memory.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from eovseg.atomic_files import atomic_file
from eovseg.errors import EovsegError
from eovseg.formats import coco, cvat, label_studio, path_of
from eovseg.formats.photo import json_bytes
from eovseg.vocabulary import Vocabulary


def write_instances(folder: Path, vocabulary: Vocabulary, targets: Sequence[str]) -> None:
    """Writes `coco-instances.json`, with annotations numbered consecutively."""
    numbered = 0

    def renumber(image: int, target: str, annotation: dict[str, Any]) -> dict[str, Any]:
        nonlocal numbered
        numbered += 1
        return annotation | {"id": numbered, "image_id": image}

    _write_coco(folder, "coco-instances", vocabulary, targets, renumber)


def write_panoptic(folder: Path, vocabulary: Vocabulary, targets: Sequence[str]) -> None:
    """Writes `coco-panoptic.json`, with the path of each photo's PNG relative to `folder`."""

    def renumber(image: int, target: str, annotation: dict[str, Any]) -> dict[str, Any]:
        png = Path(target).with_name(annotation["file_name"]).as_posix()
        return annotation | {"image_id": image, "file_name": png}

    _write_coco(folder, "coco-panoptic", vocabulary, targets, renumber)


def _write_coco(
    folder: Path,
    kind: str,
    vocabulary: Vocabulary,
    targets: Sequence[str],
    renumber: Callable[[int, str, dict[str, Any]], dict[str, Any]],
) -> None:
    images: list[dict[str, Any]] = []
    with _combined_file(folder / f"{kind}.json") as file:
        file.write(json_bytes(coco.header(vocabulary))[:-1] + b', "annotations": [')
        first = True
        for number, (target, content) in enumerate(_parts(folder, kind, targets), start=1):
            document = json.loads(content)
            images.append(document["images"][0] | {"id": number})
            for annotation in document["annotations"]:
                file.write((b"\n" if first else b",\n") + json_bytes(renumber(number, target, annotation)))
                first = False
        file.write(b'],\n"images": ' + json_bytes(images) + b"}\n")


def write_tasks(folder: Path, vocabulary: Vocabulary, targets: Sequence[str]) -> None:
    """Writes `label-studio.json` with all tasks, and the labelling interface `label-studio.xml`."""
    with _combined_file(folder / "label-studio.xml") as file:
        file.write(label_studio.labelling_config(vocabulary))
    with _combined_file(folder / "label-studio.json") as file:
        for number, (_, content) in enumerate(_parts(folder, "label-studio", targets)):
            file.write((b",\n" if number else b"[") + content.strip()[1:-1])
        file.write(b"]\n" if targets else b"[]\n")


def write_cvat(folder: Path, vocabulary: Vocabulary, targets: Sequence[str]) -> None:
    """Writes `cvat.xml` with the photos numbered from 0."""
    start, end = cvat.frame(vocabulary, len(targets))
    with _combined_file(folder / "cvat.xml") as file:
        file.write(start)
        for number, (_, content) in enumerate(_parts(folder, "cvat", targets)):
            image = ElementTree.fromstring(content).find("image")
            assert image is not None, "every photo's document has one"
            image.set("id", str(number))
            file.write((b"\n" if number else b"") + ElementTree.tostring(image, encoding="utf-8").strip())
        file.write(end)


# YOLO and LabelMe have one file per photo and no common document.
COMBINED: dict[str, Callable[[Path, Vocabulary, Sequence[str]], None]] = {
    "coco-instances": write_instances,
    "coco-panoptic": write_panoptic,
    "label-studio": write_tasks,
    "cvat": write_cvat,
}


def _parts(folder: Path, kind: str, targets: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for target in targets:
        yield target, (folder / path_of(kind, target)).read_bytes()


@contextmanager
def _combined_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that is written atomically. Raises `EovsegError` if the block fails to read or write a document."""
    try:
        with atomic_file(path) as part, part.open("wb") as file:
            yield file
    except (OSError, ValueError, ElementTree.ParseError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EovsegError(f'"{path}" cannot be combined from the files of the photos ({reason}).') from error
