"""Objects that another model found, added to pseudo-labels: instance masks in the format of COCO's results.

The file is a JSON list of `{"image_id", "category_id", "segmentation", "score"}`, as instance segmentation models write
it for COCO's evaluation: segmentation holds run lengths, and `file_name` may replace `image_id`.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from eovseg.errors import DataError

SAME_OBJECT = 0.7  # if two masks have a higher IoU, the one with the lower score is dropped
SMALLEST_OBJECT = 40  # pixels
SMALLEST_REGION = 200  # pixels


@dataclass(frozen=True)
class FoundObject:
    """An object: COCO's run lengths of its mask, category id and score from 0 to 1."""

    run_lengths: dict[str, Any]
    category: int
    score: float

    def mask(self) -> np.ndarray:
        """(H, W) bool. Raises `DataError` for broken run lengths."""
        broken = DataError(f"The run lengths {self.run_lengths['counts'][:20]!r} of an object are not a whole mask.")
        try:
            decoded: np.ndarray = rle.decode(self.run_lengths)
        except ValueError as error:
            raise broken from error
        if rle.encode(decoded)["counts"].decode() != self.run_lengths["counts"]:  # too short: the rest is arbitrary
            raise broken
        return decoded.astype(bool)


def read_objects(path: Path) -> dict[str, list[FoundObject]]:
    """The objects of each photo, best first, by file name. Raises `DataError`."""
    found: dict[str, list[FoundObject]] = defaultdict(list)
    try:
        for row in json.loads(path.read_text(encoding="utf-8")):
            name = row["file_name"] if "file_name" in row else f"{int(row['image_id']):012}.jpg"
            height, width = map(int, row["segmentation"]["size"])
            run_lengths = {"size": [height, width], "counts": str(row["segmentation"]["counts"])}
            found[str(name)].append(FoundObject(run_lengths, int(row["category_id"]), float(row["score"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a list of objects with file_name or image_id, category_id, score and a segmentation in "
            f"COCO's run lengths ({error!r})."
        ) from error
    return {name: sorted(objects, key=lambda one: -one.score) for name, objects in found.items()}


def with_objects(
    regions: Sequence[tuple[np.ndarray, int]],
    objects: Sequence[FoundObject],
    size: tuple[int, int],
    least_score: float,
) -> tuple[np.ndarray, list[int]]:
    """Segment ids (H, W) int32, 0 = unlabelled, and the category of each id, starting at 1.

    `regions` are masks (H, W) bool with their categories, `objects` those of a photo of this `size` (H, W), best first.
    Objects lie above regions, small ones above large ones. The pixels of objects below `least_score` stay unlabelled.
    Raises `DataError` for masks of another size.
    """
    ids = np.zeros(size, np.int32)
    covered = np.zeros(size, bool)
    kept: list[tuple[np.ndarray, int]] = []
    for one in objects:
        mask = one.mask()
        if mask.shape != size:
            raise DataError(
                f"An object's mask has {mask.shape[1]}×{mask.shape[0]} pixels, but its photo has {size[1]}×{size[0]}."
            )
        covered |= mask
        known = any((mask & other).sum() > SAME_OBJECT * (mask | other).sum() for other, _ in kept)
        if one.score >= least_score and mask.sum() >= SMALLEST_OBJECT and not known:
            kept.append((mask, one.category))
    free = [(mask & ~covered, category) for mask, category in regions]
    layers = [layer for layer in free if layer[0].sum() >= SMALLEST_REGION]
    layers += sorted(kept, key=lambda layer: -int(layer[0].sum()))
    for number, (mask, _) in enumerate(layers, start=1):
        ids[mask] = number
    return ids, [category for _, category in layers]
