"""The result for one photo: segment map, segments with scores, and the files written from them."""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from eovseg import pictures
from eovseg.colours import id_to_rgb, segment_colours, segment_labels
from eovseg.errors import ConfigError, EovsegError
from eovseg.formats import FILES, WRITERS, path_of, with_needs
from eovseg.formats.photo import PhotoFile, json_bytes, png_bytes
from eovseg.instance_masks import InstanceMasks
from eovseg.overlay import draw_overlay
from eovseg.pictures import Ground
from eovseg.vocabulary import Vocabulary
from eovseg.whole_files import write_whole

_IMAGE_ID = 1  # each file describes one photo
_MAX_STEM_BYTES = 120
_RESERVED_STEMS = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Segment:
    """One segment: its id in the map, class (index in the vocabulary), scores in 0..1, and area and box in pixels.

    `score` is that of the ensemble or, for panoptic segments of a calibrated model, the probability that the segment is
    correct (right class, IoU above 0.5); `in_vocabulary` and `out_of_vocabulary` are the two probabilities behind it;
    `box` is x0, y0, x1, y1 with exclusive ends. `words`, most likely first, contain the right word in 90 % of cases,
    where that was measured (`eovseg.advice.honesty`); else it is empty.
    """

    id: int
    class_id: int
    label: str
    is_thing: bool
    score: float
    in_vocabulary: float
    out_of_vocabulary: float
    area: int
    box: tuple[int, int, int, int]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a word of the list is in the photo, as far as the model can tell; see `eovseg.advice.honesty`."""

    word: str
    in_photo: bool


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """One photo segmented into the classes of `vocabulary`.

    `image` (H, W, 3) uint8; `segment_map` (H, W) int32, the segment's id or 0 = unlabelled; `task` is
    "panoptic", "semantic" (one segment per class) or "instance". Instances overlap, so that task also has
    `instance_masks`, (n, H, W) bool, one per segment in the same order. `timings` are in seconds. `name` is the photo's
    file name. `queries`: the object kernel whose scores each segment reports. `background`: the segments that
    eovseg.background merged into the last segment, "other". `verdicts`: which words are in the photo, as far as
    that was measured. `subject`: labels of the classes that pictures with a background keep in front. `corrections`:
    the calls of `rename`, `merge`, `delete` and `split` made by a person.
    Raises ValueError if the shapes do not match.
    """

    image: np.ndarray
    segment_map: np.ndarray
    segments: tuple[Segment, ...]
    vocabulary: Vocabulary
    task: str = "panoptic"
    timings: dict[str, float] = field(default_factory=dict)
    instance_masks: InstanceMasks | None = None
    name: str = ""
    queries: tuple[int, ...] = ()
    background: tuple[Segment, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    subject: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.segment_map.shape != self.image.shape[:2]:
            raise ValueError(f"segment_map is {self.segment_map.shape} and image {self.image.shape}; sizes must match.")
        expected = (len(self.segments), *self.segment_map.shape)
        if self.instance_masks is not None and self.instance_masks.shape != expected:
            raise ValueError(f"instance_masks is {self.instance_masks.shape}, expected {expected}.")

    def __repr__(self) -> str:
        height, width = self.segment_map.shape
        shown = ", ".join(self.names[:8]) + (", …" if len(self.names) > 8 else "")
        return f"Result({self.name or 'photo'}, {width} x {height}, {self.task}, {len(self.names)} segments: {shown})"

    @cached_property
    def names(self) -> list[str]:
        """One unique name per segment, as in overlay and legend ("person 2")."""
        return segment_labels(self.segments)

    def mask(self, index: int) -> np.ndarray:
        """(H, W) bool, the pixels of `segments[index]`."""
        if self.instance_masks is not None:
            return self.instance_masks[index]
        return self.segment_map == self.segments[index].id

    def masks(self) -> np.ndarray:
        """(n, H, W) bool, the pixels of every segment in the order of `segments`; takes n x H x W bytes."""
        dense = np.zeros((len(self.segments), *self.segment_map.shape), dtype=bool)
        for index in range(len(self.segments)):
            dense[index] = self.mask(index)
        return dense

    def rename(self, id: int, name: str) -> "Result":
        """The result with segment `id` named `name`: a class of the vocabulary, or a new one, which is added to it.

        A new class is a thing or stuff as the segment was, unless `name` says so ("grass: stuff"). Regions (stuff), and
        all classes of a semantic result, are there once, so a segment that has the class already is merged into this
        one. Scores stay as they were. Raises `EovsegError` for an id that is not there or a name that cannot be used.
        """
        from eovseg.corrections import rename

        return rename(self, id, name)

    def merge(self, id: int, *others: int) -> "Result":
        """The result with the pixels of the segments `others` given to segment `id`, which keeps its class.

        Raises `EovsegError` for ids that are not there.
        """
        from eovseg.corrections import merge

        return merge(self, id, *others)

    def delete(self, id: int) -> "Result":
        """The result without segment `id`; its pixels belong to nothing. Raises `EovsegError` where it is not there."""
        from eovseg.corrections import delete

        return delete(self, id)

    def split(self, id: int, x: int, y: int) -> "Result":
        """The result with that connected part of segment `id` that holds the pixel (x, y) as a segment of its own.

        The part has the largest id plus 1 and the same class; pixels that meet at a corner are connected. Raises
        `EovsegError` where the segment is in one piece or the pixel is not in it.
        """
        from eovseg.corrections import split

        return split(self, id, x, y)

    def to_supervision(self) -> Any:
        """The segments as `supervision.Detections`; see `eovseg.formats.detections`."""
        from eovseg.formats.detections import to_supervision

        return to_supervision(self)

    def overlay(
        self, opacity: float = 0.5, labels: bool = True, highlight: Collection[int] | None = None
    ) -> Image.Image:
        """The photo with its segments drawn over it; see `eovseg.overlay.draw_overlay`."""
        # "other" is the photo as it is.
        return draw_overlay(self.image, self.segment_map, self.named, opacity, labels, highlight)

    @property
    def named(self) -> tuple[Segment, ...]:
        """The segments that are one of the words: all but "other"."""
        return self.segments[:-1] if self.background else self.segments

    def subject_ids(self) -> list[int]:
        """The segments that pictures keep in front by default: those of `subject`, else all things, else all."""
        chosen = [segment.id for segment in self.named if segment.label in self.subject]
        things = [segment.id for segment in self.named if segment.is_thing]
        return chosen if self.subject else things or [segment.id for segment in self.named]

    def cutout(self, ids: int | Collection[int]) -> Image.Image:
        """Segments by id as RGBA, transparent around them and cut to them; see `eovseg.pictures.cutout`.

        Raises `ConfigError` for an id that no segment has.
        """
        return pictures.cutout(self.image, self._subject(ids))

    def cutouts(self) -> dict[str, Image.Image]:
        """Each named segment by its unique name ("person 2") as RGBA, transparent around it."""
        return {name: self.cutout(segment.id) for name, segment in zip(self.names, self.named, strict=False)}

    def spotlight(self, ids: int | Collection[int] | None = None) -> Image.Image:
        """The photo with all but some segments darkened, by default but `subject_ids()`; raises as `cutout`."""
        return pictures.spotlight(self.image, self._subject(ids))

    def grey_background(self, ids: int | Collection[int] | None = None) -> Image.Image:
        """The photo with all but some segments in grey, by default but `subject_ids()`; raises as `cutout`."""
        return pictures.grey_background(self.image, self._subject(ids))

    def blurred_background(self, ids: int | Collection[int] | None = None, strength: float = 1.0) -> Image.Image:
        """The photo with all but some segments out of focus, by default but `subject_ids()`; `strength` 0..4.

        Raises `ConfigError` for an id that no segment has and for another strength.
        """
        return pictures.blurred_background(self.image, self._subject(ids), strength)

    def outlines(self, on: Ground = "white") -> Image.Image:
        """The borders of the named segments in their colours, on "white", the "photo" or "transparent" ground."""
        places = np.zeros(int(self.segment_map.max(initial=0)) + 1, dtype=np.int32)
        for place, segment in enumerate(self.named, start=1):
            if segment.id < len(places):  # an instance that others cover may be missing in the map
                places[segment.id] = place
        return pictures.outlines(self.image, places[self.segment_map], segment_colours(self.named), on)

    def _subject(self, ids: int | Collection[int] | None) -> np.ndarray:
        """(H, W) bool, the pixels of some segments together."""
        wanted = self.subject_ids() if ids is None else [ids] if isinstance(ids, int) else list(ids)
        places = {segment.id: place for place, segment in enumerate(self.segments)}
        if unknown := [one for one in wanted if one not in places]:
            known = ", ".join(map(str, list(places)[:12])) + (", …" if len(places) > 12 else "")
            raise ConfigError(f"There is no segment {unknown[0]}; this result has {known or 'none'}.")
        mask = np.zeros(self.segment_map.shape, dtype=bool)
        for one in wanted:
            mask |= self.mask(places[one])
        return mask

    def to_json(self) -> dict[str, Any]:
        """Segments, sizes, classes, notes and timings as plain values for json.dumps."""
        height, width = self.segment_map.shape
        segments = [{**asdict(segment), "name": name} for segment, name in zip(self.segments, self.names, strict=True)]
        return {
            "file_name": self.name,
            "task": self.task,
            "width": width,
            "height": height,
            "segments": segments,
            "words_in_photo": {verdict.word: verdict.in_photo for verdict in self.verdicts},
            "unlabelled_fraction": float((self.segment_map == 0).mean()),
            "vocabulary": self.vocabulary.to_text(),
            "notes": list(self.vocabulary.notes),
            "timings": dict(self.timings),
            **({"corrections": list(self.corrections)} if self.corrections else {}),
        }

    def table_csv(self) -> str:
        """CSV for spreadsheets (RFC 4180): a header and one line per segment; areas in pixels, scores in 0..1."""
        text = io.StringIO()
        writer = csv.writer(text)
        names = (
            "id",
            "name",
            "class",
            "kind",
            "score",
            "in_vocabulary",
            "out_of_vocabulary",
            "area",
            "x0",
            "y0",
            "x1",
            "y1",
        )
        writer.writerow(names)
        for segment, name in zip(self.segments, self.names, strict=True):
            scores = (f"{s:.4f}" for s in (segment.score, segment.in_vocabulary, segment.out_of_vocabulary))
            kind = "thing" if segment.is_thing else "stuff"
            words = (plain_cell(name), plain_cell(segment.label))
            writer.writerow((segment.id, *words, kind, *scores, segment.area, *segment.box))
        return text.getvalue()

    def panoptic_json(self, png_name: str) -> dict[str, Any]:
        """COCO panoptic document of this photo; `png_name` is the file with the segment map."""
        annotation = {
            "image_id": _IMAGE_ID,
            "file_name": png_name,
            "segments_info": [
                {
                    "id": segment.id,
                    "category_id": segment.class_id,
                    "area": segment.area,
                    "bbox": _xywh(segment.box),
                    "iscrowd": 0,
                    **self._extras(index),
                }
                for index, segment in enumerate(self.segments)
            ],
        }
        return {**self._header(), "annotations": [annotation]}

    def rle_json(self) -> dict[str, Any]:
        """COCO document with one compressed run-length mask per segment; `pycocotools.coco.COCO` loads it."""
        annotations = []
        for index, segment in enumerate(self.segments):
            encoded = self._rle(index)
            annotations.append(
                {
                    "id": segment.id,
                    "image_id": _IMAGE_ID,
                    "category_id": segment.class_id,
                    "segmentation": {
                        "size": [int(side) for side in encoded["size"]],
                        "counts": encoded["counts"].decode("ascii"),
                    },
                    "area": segment.area,
                    "bbox": _xywh(segment.box),
                    "iscrowd": 0,
                    **self._extras(index),
                }
            )
        return {**self._header(), "annotations": annotations}

    def _rle(self, index: int) -> dict[str, Any]:
        """COCO's compressed run lengths of one segment."""
        if self.instance_masks is not None:
            return self.instance_masks.rle(index)
        encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(self.mask(index), dtype=np.uint8))
        return encoded

    def save(self, folder: str | Path, stem: str | None = None, formats: Collection[str] = ()) -> list[Path]:
        """Writes overlay PNG, COCO panoptic PNG and JSON, and RLE JSON as `folder/stem-*`; returns their paths.

        `formats`: additional formats from `eovseg.formats.WRITERS`, such as "yolo", "cvat" or "cutouts".
        `stem` defaults to the photo's name; characters that file systems do not allow become "_". A second result of
        the same photo replaces the first; if another photo has the same name, "-2", "-3", ... is added.
        Raises `EovsegError` if the folder is not writable, or for an unknown format.
        """
        unknown = sorted(set(formats) - WRITERS.keys())
        if unknown:
            raise EovsegError(f'There is no format "{unknown[0]}"; choose from {", ".join(WRITERS)}.')
        folder = Path(folder)
        digest = self._photo_digest()
        wanted = clean_stem(stem if stem is not None else Path(self.name).stem)
        free, number = wanted, 1
        while not _is_ours(folder, free, digest):
            number += 1
            free = f"{wanted}-{number}"
        return self.write(folder, free, (*FILES, *formats))

    def write(
        self, folder: str | Path, stem: str, files: Collection[str] = tuple(FILES), photo: PhotoFile | None = None
    ) -> list[Path]:
        """Writes `files` (names of `FILES` and `WRITERS`) of `stem` to `folder`, overwriting; returns the paths.

        `stem` may include folders; `photo` is the photo's name in the files, by default the result's name. Files are
        written atomically, even if the process is killed.
        Raises `EovsegError` if the folder is not writable or contains labels of other classes.
        """
        folder = Path(folder)
        photo = photo or PhotoFile(self.name)
        wanted = with_needs(kind for kind in (*FILES, *WRITERS) if kind in files)
        paths = {kind: folder / file_of(kind, stem) for kind in wanted}
        # Write the document with the photo's digest first, so that `save` recognises interrupted results.
        for kind in sorted(paths, key=lambda kind: kind != "panoptic-json"):
            if kind in WRITERS:
                self._write_shared(kind, folder)
                content = WRITERS[kind].content(self, photo, paths[kind])
            else:
                content = self._content(kind, f"{PurePath(stem).name}-{FILES['panoptic-png']}")
            _write(paths[kind], content)
        return list(paths.values())

    def _write_shared(self, kind: str, folder: Path) -> None:
        """Writes the file that all photos of a format share, if missing; raises if it has other classes."""
        if not (shared := WRITERS[kind].shared):
            return
        path, content = folder / shared[0], shared[1](self.vocabulary)
        try:
            known = path.read_bytes()
        except OSError:
            _write(path, content)
            return
        if known != content:
            raise EovsegError(
                f'"{path.parent}" contains labels of other classes; choose another folder, or delete this one.'
            )

    def _content(self, kind: str, png_name: str) -> bytes:
        """Content of one of `FILES`."""
        if kind == "overlay":
            return png_bytes(self.overlay())
        if kind == "panoptic-png":
            return png_bytes(Image.fromarray(id_to_rgb(self.segment_map)))
        if kind == "panoptic-json":
            document = self.panoptic_json(png_name)
            document["info"]["photo_digest"] = self._photo_digest()
            return json_bytes(document)
        return json_bytes(self.rle_json())

    def _photo_digest(self) -> str:
        return hashlib.blake2b(self.image.tobytes(), digest_size=16).hexdigest()

    def _header(self) -> dict[str, Any]:
        height, width = self.segment_map.shape
        return {
            "info": {
                "description": "EOV-Seg result",
                "task": self.task,
                "vocabulary": self.vocabulary.to_text(),
                "words_in_photo": {verdict.word: verdict.in_photo for verdict in self.verdicts},
            },
            "images": [{"id": _IMAGE_ID, "file_name": self.name, "width": width, "height": height}],
            "categories": [
                {"id": index, "name": entry.label, "supercategory": "", "isthing": int(entry.is_thing)}
                for index, entry in enumerate(self.vocabulary.classes)
            ],
        }

    def _extras(self, index: int) -> dict[str, Any]:
        """Additional fields, which COCO readers ignore."""
        segment = self.segments[index]
        return {
            "name": self.names[index],
            "isthing": int(segment.is_thing),
            "score": segment.score,
            "in_vocabulary": segment.in_vocabulary,
            "out_of_vocabulary": segment.out_of_vocabulary,
            "words": list(segment.words),
        }


def file_of(kind: str, stem: str) -> PurePath:
    """Path of a file kind (of `FILES` and `WRITERS`) for the photo `stem`, relative to the output folder."""
    return path_of(kind, stem) if kind in WRITERS else PurePath(f"{stem}-{FILES[kind]}")


def _write(path: Path, content: bytes) -> None:
    """`write_whole`; raises `EovsegError` if the folder is not writable."""
    try:
        write_whole(path, content, one_of_many=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EovsegError(f'Results cannot be written to "{path.parent}" ({reason}).') from error


def clean_stem(stem: str) -> str:
    """A stem valid on Linux, macOS and Windows, keeping letters of all scripts; "photo" if nothing is left."""
    kept = "".join(
        char if unicodedata.category(char)[0] in "LMN" or char in "-_.() " else "_"
        for char in unicodedata.normalize("NFC", stem)
    )
    kept = kept.encode("utf-8")[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    kept = re.sub(r"^[.\s]+|[.\s]+$", "", kept)
    return f"_{kept}" if kept.split(".")[0].lower() in _RESERVED_STEMS else kept or "photo"


def _is_ours(folder: Path, stem: str, digest: str) -> bool:
    """Whether `stem` is free in `folder` or has an earlier result of the same photo."""
    if not any((folder / f"{stem}-{suffix}").exists() for suffix in FILES.values()):
        return True
    try:
        document = json.loads((folder / f"{stem}-panoptic.json").read_text(encoding="utf-8"))
        return bool(document["info"]["photo_digest"] == digest)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def plain_cell(text: str) -> str:
    """Escapes text that a spreadsheet would read as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _xywh(box: tuple[int, int, int, int]) -> list[int]:
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]
