"""Builds label files: atomic, multi-threaded and resumable."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from eovseg.atomic_files import atomic_file, write_atomically
from eovseg.colours import id_to_rgb
from eovseg.data.class_table import Category

Item = TypeVar("Item")
Output = TypeVar("Output")


def in_threads(work: Callable[[Item], Output], items: Sequence[Item]) -> Iterator[Output]:
    """Maps `work` over `items` in order; the first error cancels all items not yet started."""
    pool = ThreadPoolExecutor(max(1, min(16, os.cpu_count() or 1)))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _shown(built: Iterator[Output], missing: int, photos: int) -> Iterator[Output]:
    """The same, with a progress bar for all `photos`, of which `missing` are built now."""
    yield from tqdm(built, total=photos, initial=photos - missing, unit="photo", disable=None)


class PanopticBuilder:
    """Writes `<target>/*.png` and, last, `<target>.json` in COCO's panoptic format.

    The records of finished photos are kept in `<target>.progress`, so an interrupted build can resume.
    """

    def __init__(self, target: Path, categories: Sequence[Category]) -> None:
        self.target = target
        self.json = target.with_name(f"{target.name}.json")
        self._progress = target.with_name(f"{target.name}.progress")
        self._categories = categories

    def build(self, stems: Sequence[str], make: Callable[[str], tuple[np.ndarray, dict[str, Any]]]) -> str:
        """Builds all `stems`; `make(stem)` returns the ids (H, W) and {"image": …, "annotation": …} for the JSON."""
        if self.json.is_file():
            return f"{self.json} already exists; delete it to build it again."
        self.target.mkdir(parents=True, exist_ok=True)
        records = self._finished()
        missing = [stem for stem in stems if stem not in records]

        def finish(stem: str) -> tuple[str, dict[str, Any]]:
            ids, record = make(stem)
            with atomic_file(self.target / record["annotation"]["file_name"], one_of_many=True) as part:
                Image.fromarray(id_to_rgb(ids)).save(part, format="PNG")
            return stem, record

        with self._progress.open("a", encoding="utf-8") as file:
            for stem, record in _shown(in_threads(finish, missing), len(missing), len(stems)):
                records[stem] = record
                file.write(json.dumps([stem, record]) + "\n")
        document = {
            "images": [records[stem]["image"] for stem in stems],
            "annotations": [records[stem]["annotation"] for stem in stems],
            "categories": [{"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in self._categories],
        }
        write_atomically(self.json, json.dumps(document))
        self._progress.unlink()
        return f"Built {self.json} and {len(stems)} PNGs."

    def _finished(self) -> dict[str, dict[str, Any]]:
        """Records of an interrupted build whose PNGs exist; a truncated line is ignored."""
        records = {}
        if self._progress.is_file():
            for line in self._progress.read_text(encoding="utf-8").splitlines():
                try:
                    stem, record = json.loads(line)
                except ValueError:
                    continue
                if (self.target / record["annotation"]["file_name"]).is_file():
                    records[stem] = record
        return records


def segment_record(number: int, category_id: int, mask: np.ndarray, crowd: bool = False) -> dict[str, Any]:
    """A segment in COCO's panoptic JSON, with the area and box [x, y, width, height] of `mask` (H, W)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "id": number,
        "category_id": category_id,
        "area": int(mask.sum()),
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "iscrowd": int(crowd),
    }


def build_masks(target: Path, suffix: str, stems: Sequence[str], make: Callable[[str], np.ndarray]) -> str:
    """Writes the index mask `make(stem)` to `<target>/<stem><suffix>`; `target` appears once all are written."""
    if target.is_dir():
        return f"{target} already exists; delete it to build it again."
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    missing = [stem for stem in stems if not (partial / f"{stem}{suffix}").is_file()]
    kind = "TIFF" if suffix == ".tif" else "PNG"

    def finish(stem: str) -> None:
        mask = Image.fromarray(make(stem))
        with atomic_file(partial / f"{stem}{suffix}", one_of_many=True) as part:
            mask.save(part, format=kind)

    for _ in _shown(in_threads(finish, missing), len(missing), len(stems)):
        pass
    os.replace(partial, target)
    return f"Built {target} with {len(stems)} masks."
