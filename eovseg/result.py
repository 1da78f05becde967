"""The result for one photo: a segmented photo, its corrections, and the files written from it."""

import csv
import hashlib
import io
import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from eovseg.atomic_files import write_atomically
from eovseg.colours import id_to_rgb
from eovseg.errors import EovsegError
from eovseg.formats import FILES, WRITERS, path_of, with_needs
from eovseg.formats.photo import PhotoFile, json_bytes, png_bytes
from eovseg.segmented import SegmentedPhoto
from eovseg.stems import clean_stem

_IMAGE_ID = 1  # each file describes one photo


class Result(SegmentedPhoto):
    """The result for one photo: a `SegmentedPhoto` that can be corrected and written to files."""

    def rename(self, id: int, name: str) -> "Result":
        """The result with segment `id` named `name`: a class of the vocabulary, or a new one, which is added to it.

        A new class is a thing or stuff like the segment, unless `name` specifies it ("grass: stuff"). Stuff, and every
        class of a semantic result, has only one segment, so another segment of the class is merged into this one.
        Scores do not change. Raises `EovsegError` for an unknown id or an invalid name.
        """
        from eovseg.corrections import rename

        return rename(self, id, name)

    def merge(self, id: int, *others: int) -> "Result":
        """The result with the pixels of the segments `others` given to segment `id`, which keeps its class.

        Raises `EovsegError` for unknown ids.
        """
        from eovseg.corrections import merge

        return merge(self, id, *others)

    def delete(self, id: int) -> "Result":
        """The result without segment `id`; its pixels become unlabelled. Raises `EovsegError` if there is none."""
        from eovseg.corrections import delete

        return delete(self, id)

    def split(self, id: int, x: int, y: int) -> "Result":
        """The result in which the connected part of segment `id` at the pixel (x, y) is a segment of its own.

        The part has the largest id plus 1 and the same class; pixels that meet at a corner are connected. Raises
        `EovsegError` if the segment is in one piece or does not contain the pixel.
        """
        from eovseg.corrections import split

        return split(self, id, x, y)

    def to_supervision(self) -> Any:
        """The segments as `supervision.Detections`; see `eovseg.formats.detections`."""
        from eovseg.formats.detections import to_supervision

        return to_supervision(self)

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
            "id", "name", "class", "kind", "score", "in_vocabulary", "out_of_vocabulary", "area",
            "x0", "y0", "x1", "y1",
        )  # fmt: skip
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
    """Writes a file with `write_atomically`; raises `EovsegError` if that fails."""
    try:
        write_atomically(path, content, one_of_many=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EovsegError(f'Results cannot be written to "{path.parent}" ({reason}).') from error


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
