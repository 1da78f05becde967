"""`python -m eovseg.training.pseudo_labels`: label photos with a trained model, for further training.

Each photo and its mirror image are segmented; pixels on which the results agree are labelled, the rest stay unlabelled
(after Yang et al. 2022, who use the agreement of several checkpoints). The output is a COCO panoptic folder for
`eovseg train --also FOLDER`. With `--complete`, PHOTOS is such a folder with labels of some classes only: they are
kept, and pixels without a label get classes that the folder does not label.

With `--objects`, the things are those that another model found (`found_objects.py`), and only the stuff is the
model's own.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from eovseg.atomic_files import write_atomically
from eovseg.command_options import add_model_options, chosen_model
from eovseg.data.class_table import ClassTable
from eovseg.data.label_files import read_photo
from eovseg.data.labelled_folder import Photo
from eovseg.data.panoptic_folder import PanopticFolder, write_segment_ids
from eovseg.errors import ConfigError, DataError, run_command
from eovseg.presets import TRAINING_PRESET

if TYPE_CHECKING:
    from eovseg.predictor import Predictor
    from eovseg.result import Result
    from eovseg.training.found_objects import FoundObject

SMALLEST_AREA = 200  # pixels
SETTINGS_FILE = "settings.json"
LabelledSegment = tuple[int, int, bool]  # id, category, whether it is a crowd


def agreed(result: "Result", mirrored: "Result", overlap: float, score: float) -> tuple[np.ndarray, list[int]]:
    """Segment ids (H, W) int32, 0 = unlabelled, and the class index of each id, starting at 1.

    `mirrored` is the unflipped result of the mirror image. A stuff segment keeps the pixels that both results assign to
    its class; a thing is kept if a segment of its class has an IoU above `overlap`, reduced to the intersection.
    Segments are dropped if their score is below `score`, or the kept area is less than `overlap` of their own or than
    `SMALLEST_AREA` pixels.
    """
    other = mirrored.segment_map[:, ::-1]
    ids = np.zeros(result.segment_map.shape, np.int32)
    classes: list[int] = []
    for index, segment in enumerate(result.segments):
        if segment.score < score:
            continue
        own = result.mask(index)
        partners = [s for s in mirrored.segments if s.class_id == segment.class_id]
        if segment.is_thing:
            shared = max((_shared(own, other == s.id) for s in partners), key=lambda pair: pair[0], default=(0.0, own))
            if shared[0] <= overlap:
                continue
            kept = shared[1]
        else:
            kept = own & np.isin(other, [s.id for s in partners])
        area = int(kept.sum())
        if area < max(SMALLEST_AREA, overlap * segment.area):
            continue
        classes.append(segment.class_id)
        ids[kept] = len(classes)
    return ids, classes


def _shared(one: np.ndarray, two: np.ndarray) -> tuple[float, np.ndarray]:
    """IoU and intersection of two masks."""
    both = one & two
    return float(both.sum() / max(1, (one | two).sum())), both


class PseudoLabels:
    """Writes a COCO panoptic folder photo by photo; an interrupted run can be resumed.

    `coco` means that the photos are from COCO and named by their ids. Each gets its `coco_id`, so that runs that are
    validated or tested on it exclude it from training.
    """

    def __init__(
        self,
        folder: Path,
        preset: str = TRAINING_PRESET,
        coco: bool = False,
        complete: PanopticFolder | None = None,
        objects: "Mapping[str, Sequence[FoundObject]] | None" = None,
        object_score: float = 0.5,
    ) -> None:
        self.coco = coco
        self.objects = objects
        self.object_score = object_score
        self.complete = complete
        self._labelled = {photo.file_name: photo for photo in complete.photos} if complete else {}
        self.table = ClassTable.preset(preset)
        self.categories = self.table.categories | (complete.categories if complete else {})
        self.folder = folder
        self._records = folder / "records.jsonl"
        for name in ("images", "panoptic"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.done: dict[str, dict[str, Any]] = {}
        if self._records.exists():
            lines = [line for line in self._records.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            write_atomically(self._records, "".join(line + "\n" for line in lines))  # drops a truncated last line
            rows = {row["file_name"]: row for row in map(json.loads, lines)}
            self.done = {name: row for name, row in rows.items() if (folder / "panoptic" / _png_name(name)).is_file()}

    def add(self, photo: Path, predictor: "Predictor", overlap: float, score: float) -> None:
        """Labels one photo."""
        from eovseg.training.found_objects import with_objects

        pixels, labelled = read_photo(photo), self._labelled.get(photo.name)
        results = [predictor(image, self.table.vocabulary) for image in (pixels, np.ascontiguousarray(pixels[:, ::-1]))]
        ids, classes = agreed(results[0], results[1], overlap, score)
        categories = [self.table.ids[index] for index in classes]
        if self.objects is not None:
            regions = [
                (ids == number, category)
                for number, category in enumerate(categories, start=1)
                if not self.categories[category].is_thing
            ]
            found = self.objects.get(photo.name, ())
            ids, categories = with_objects(regions, found, pixels.shape[:2], self.object_score)
        segments = [(number, category, False) for number, category in enumerate(categories, start=1)]
        if self.complete and labelled:
            ids, segments = completed(self.complete, labelled, ids, segments)
        write_segment_ids(self.folder / "panoptic" / _png_name(photo.name), ids)
        shutil.copyfile(photo, self.folder / "images" / photo.name)
        row = {
            "file_name": photo.name,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "segments": segments,
            "coco_id": labelled and labelled.coco_id,
            "labelled": round(float((ids > 0).mean()), 4),
        }
        with self._records.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.done[photo.name] = row

    def finish(self) -> None:
        """Writes `panoptic.json` for all photos with labels."""
        rows = [row for _, row in sorted(self.done.items()) if row["segments"]]
        document = {
            "images": [
                {
                    "id": i,
                    **{k: row[k] for k in ("file_name", "width", "height")},
                    **({} if (number := self._coco_id(row)) is None else {"coco_id": number}),
                }
                for i, row in enumerate(rows)
            ],
            "annotations": [
                {
                    "image_id": i,
                    "file_name": _png_name(row["file_name"]),
                    "segments_info": [
                        {"id": number, "category_id": category, "iscrowd": int(crowd)}
                        for number, category, crowd in row["segments"]
                    ],
                }
                for i, row in enumerate(rows)
            ],
            "categories": [{"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in self.categories.values()],
        }
        write_atomically(self.folder / "panoptic.json", json.dumps(document))

    def _coco_id(self, row: dict[str, Any]) -> int | None:
        return coco_id(row["file_name"]) if self.coco else row.get("coco_id")


def completed(
    folder: PanopticFolder, photo: Photo, ids: np.ndarray, segments: list[LabelledSegment]
) -> tuple[np.ndarray, list[LabelledSegment]]:
    """The folder's own labels of `photo` with those of `segments` of `ids` (H, W) added where it has none.

    Segments of classes that the folder labels, and those with fewer than `SMALLEST_AREA` pixels left, are dropped.
    """
    own_classes = folder.exhaustive_category_ids or folder.categories.keys()
    known, listed = folder.load_segments(photo)
    whole = known.copy()
    result = [(segment.id, segment.category_id, segment.is_crowd) for segment in listed]
    last = max((number for number, *_ in result), default=0)
    for number, category, crowd in segments:
        added = (ids == number) & (known == 0)
        if category not in own_classes and added.sum() >= SMALLEST_AREA:
            last += 1
            whole[added] = last
            result.append((last, category, crowd))
    return whole, result


def coco_id(file_name: str) -> int:
    """The id in the file name of a COCO photo, such as `000000000139.jpg`, with or without prefix "COCO_val2014_".

    Raises `ConfigError` for other names.
    """
    name = re.fullmatch(r"(?:COCO_\w+_)?([0-9]{12})", Path(file_name).stem)
    if not name:
        raise ConfigError(f'"{file_name}" is not a file name of COCO (12 digits); omit --coco.')
    return int(name[1])


def _png_name(file_name: str) -> str:
    """The file name of a photo's id PNG; it keeps the photo's extension, so that `a.jpg` and `a.png` differ."""
    return f"{file_name}.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.training.pseudo_labels", description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of unlabelled photos; a COCO panoptic folder with --complete")
    parser.add_argument("--output", type=Path, required=True, help="COCO panoptic folder to write (resumable)")
    add_model_options(parser)
    parser.add_argument("--overlap", type=float, default=0.5, help="minimum agreement of a segment, 0..1 (0.5)")
    parser.add_argument("--score", type=float, default=0.1, help="minimum score of a segment, 0..1 (0.1)")
    parser.add_argument("--objects", type=Path, help="things found by another model, in the format of COCO's results")
    parser.add_argument("--object-score", type=float, default=0.5, help="minimum score of such an object, 0..1 (0.5)")
    parser.add_argument("--limit", type=int, help="label only the first N photos")
    parser.add_argument("--coco", action="store_true", help="photos are from COCO: store the ids in their names")
    parser.add_argument(
        "--complete", action="store_true", help="keep the folder's labels and add those of other classes"
    )
    return run_command(parser, run, argv)


def run(options: argparse.Namespace) -> None:
    """Labels all photos not yet labelled; raises subclasses of `EovsegError`."""
    from eovseg.data.unlabelled import list_photos
    from eovseg.training.found_objects import read_objects

    for name in ("overlap", "score", "object_score"):
        if not 0.0 <= getattr(options, name) <= 1.0:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(options, name)}; give a number from 0 to 1.")
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {options.limit}.")
    folder = PanopticFolder(options.photos) if options.complete else None
    photos: Sequence[Path]
    if folder:
        photos = [folder.images / photo.file_name for photo in folder.photos][: options.limit]
    else:
        photos = list_photos(options.photos)[: options.limit]
    if options.coco:
        for photo in photos:
            coco_id(photo.name)
    settings = _settings(options)
    check_output(options.output, settings)
    objects = read_objects(options.objects) if options.objects else None
    labels = PseudoLabels(
        options.output, coco=options.coco, complete=folder, objects=objects, object_score=options.object_score
    )
    if unknown := {one.category for row in (objects or {}).values() for one in row} - labels.categories.keys():
        raise DataError(
            f"{options.objects} has the category id {min(unknown)}, which is not in the class list {TRAINING_PRESET}; "
            "give COCO's ids."
        )
    left = [photo for photo in photos if photo.name not in labels.done]
    predictor = chosen_model(options)
    write_atomically(options.output / SETTINGS_FILE, json.dumps(settings, indent=1) + "\n")
    for photo in tqdm(left, unit="photo", disable=None):
        labels.add(photo, predictor, options.overlap, options.score)
    labels.finish()
    rows = list(labels.done.values())
    segments = sum(len(row["segments"]) for row in rows)
    share = sum(row["labelled"] for row in rows) / max(1, len(rows))
    print(f"{options.output}: {len(rows)} photos, {segments} segments, {share:.1%} of the pixels labelled")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that affects the labels of a photo; files by name and SHA-256."""
    from eovseg.checkpoints import default_checkpoint, file_digest

    def identity(file: Path | None) -> str | None:
        return f"{file.name} (SHA-256 {file_digest(file)[:12]}…)" if file and file.is_file() else None

    return {
        "weights": identity(options.checkpoint or default_checkpoint(options.variant or "xs")),
        "dtype": options.dtype,
        "overlap": options.overlap,
        "score": options.score,
        "complete": options.complete,
        "objects": identity(options.objects),
        "object_score": options.object_score if options.objects else None,
    }


def check_output(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raises `ConfigError` if the labels in `folder` were made with other settings."""
    from eovseg.training.config import differences

    file = folder / SETTINGS_FILE
    if not file.exists():
        return
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read ({error}). Choose another --output.") from error
    if changes := differences(before, settings):
        raise ConfigError(
            f"{folder} was made with other settings: {changes}. Use its settings to continue, or choose another "
            "--output."
        )


if __name__ == "__main__":
    sys.exit(main())
