"""Building label files: written atomically, in threads, and continued where an earlier try stopped."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from eovseg.colours import id_to_rgb
from eovseg.data.class_table import Category
from eovseg.whole_files import whole_file, write_whole

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_threads(work: Callable[[Item], Made], items: Sequence[Item]) -> Iterator[Made]:
    """`work` of each item, in order; the first error ends it and drops what has not begun."""
    pool = ThreadPoolExecutor(max(1, min(16, os.cpu_count() or 1)))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


class PanopticBuilder:
    """Writes `<target>/*.png` and, as the last step, `<target>.json` in COCO's panoptic format.

    What is known of each finished photo is kept in `<target>.progress`, so that a second try continues.
    """

    def __init__(self, target: Path, categories: Sequence[Category]) -> None:
        self.target = target
        self.json = target.with_name(f"{target.name}.json")
        self._progress = target.with_name(f"{target.name}.progress")
        self._categories = categories

    def build(
        self,
        stems: Sequence[str],
        make: Callable[[str], tuple[np.ndarray, dict[str, Any]]],
        progress: Callable[[int, int], None],
    ) -> str:
        """Builds all of `stems`; `make(stem)` gives the ids (H, W) and {"image": …, "annotation": …} of the JSON."""
        if self.json.is_file():
            return f"{self.json} is there already; delete it to build it again."
        self.target.mkdir(parents=True, exist_ok=True)
        records = self._finished()
        missing = [stem for stem in stems if stem not in records]

        def finish(stem: str) -> tuple[str, dict[str, Any]]:
            ids, record = make(stem)
            with whole_file(self.target / record["annotation"]["file_name"], one_of_many=True) as part:
                Image.fromarray(id_to_rgb(ids)).save(part, format="PNG")
            return stem, record

        with self._progress.open("a", encoding="utf-8") as file:
            for done, (stem, record) in enumerate(in_threads(finish, missing), len(stems) - len(missing) + 1):
                records[stem] = record
                file.write(json.dumps([stem, record]) + "\n")
                progress(done, len(stems))
        document = {
            "images": [records[stem]["image"] for stem in stems],
            "annotations": [records[stem]["annotation"] for stem in stems],
            "categories": [{"id": c.id, "name": c.name, "isthing": int(c.is_thing)} for c in self._categories],
        }
        write_whole(self.json, json.dumps(document))
        self._progress.unlink()
        return f"{self.json} and {len(stems)} PNGs beside it are built."

    def _finished(self) -> dict[str, dict[str, Any]]:
        """Records of an earlier try whose PNG is there; a line that was cut off does not count."""
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
    """A segment as COCO's panoptic JSON lists it: area and box [x, y, width, height] of `mask` (H, W)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "id": number,
        "category_id": category_id,
        "area": int(mask.sum()),
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "iscrowd": int(crowd),
    }


def build_masks(
    target: Path,
    suffix: str,
    stems: Sequence[str],
    make: Callable[[str], np.ndarray],
    progress: Callable[[int, int], None],
) -> str:
    """Writes the index mask `make(stem)` to `<target>/<stem><suffix>`; `target` appears once all are there."""
    if target.is_dir():
        return f"{target} is there already; delete it to build it again."
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    missing = [stem for stem in stems if not (partial / f"{stem}{suffix}").is_file()]
    kind = "TIFF" if suffix == ".tif" else "PNG"

    def finish(stem: str) -> None:
        mask = Image.fromarray(make(stem))
        with whole_file(partial / f"{stem}{suffix}", one_of_many=True) as part:
            mask.save(part, format=kind)

    for done, _ in enumerate(in_threads(finish, missing), len(stems) - len(missing) + 1):
        progress(done, len(stems))
    os.replace(partial, target)
    return f"{target} with {len(stems)} masks is built."
