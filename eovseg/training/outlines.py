"""Better outlines for pseudo-labels: masks of Segment Anything (Kirillov et al. 2023) for boxes and stuff regions.

Objects come from the boxes of a detector, a JSON file in the format of COCO's detection results, or else from the boxes
around the model's own things. Each becomes the mask that Segment Anything finds for it. The model's stuff segments keep
their names; their outlines are replaced where Segment Anything, prompted with points inside a segment, finds nearly
the same region.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import distance_transform_edt, find_objects

from eovseg.data.class_table import Category
from eovseg.errors import ConfigError, DataError
from eovseg.model.config import IMAGENET_MEAN, IMAGENET_STD

SIDE = 1024  # longer side of the encoder's input in pixels
LEAST_QUALITY = 0.75  # minimum IoU that Segment Anything predicts for its own mask
SAME_REGION = 0.6  # minimum IoU of a stuff segment with the mask that replaces its outline
SAME_OBJECT = 0.7  # if two masks have a higher IoU, the one with the lower score is dropped
SMALLEST_OBJECT = 40  # pixels
SMALLEST_REGION = 200  # pixels
POINTS = 3  # inside a stuff segment


@dataclass(frozen=True)
class Box:
    """A detected object: corners in pixels (left, top, right, bottom), category id and score from 0 to 1."""

    corners: tuple[float, float, float, float]
    category: int
    score: float


def read_boxes(path: Path, least_score: float) -> dict[str, list[Box]]:
    """The boxes of each photo with at least `least_score`, best first, by file name.

    The file is a list of `{"file_name", "category_id", "bbox": [x, y, width, height], "score"}`. COCO's photos may be
    named by `image_id` instead. Raises `DataError`.
    """
    found: dict[str, list[Box]] = defaultdict(list)
    try:
        for row in json.loads(path.read_text(encoding="utf-8")):
            x, y, width, height = map(float, row["bbox"])
            name = row["file_name"] if "file_name" in row else f"{int(row['image_id']):012}.jpg"
            box = Box((x, y, x + width, y + height), int(row["category_id"]), float(row["score"]))
            if box.score >= least_score:
                found[str(name)].append(box)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a list of detections with file_name or image_id, category_id, bbox and score ({error!r})."
        ) from error
    return {name: sorted(boxes, key=lambda box: -box.score) for name, boxes in found.items()}


class SegmentAnything:
    """Segment Anything in ONNX: an image encoder and the decoder as its authors export it.

    The encoder reads photos (1, 3, 1024, 1024), normalised as for ImageNet, padded with zeros. Raises `DataError` for
    files that onnxruntime cannot read or that have other inputs, and `ConfigError` without onnxruntime.
    """

    def __init__(self, encoder: Path, decoder: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError("Segment Anything needs the package onnxruntime: pip install onnxruntime.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._encoder, self._decoder = (
                onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
                for path in (encoder, decoder)
            )
        except Exception as error:  # onnxruntime's own exceptions share no class
            raise DataError(f"{encoder} and {decoder} cannot be read as ONNX files ({error}).") from error
        missing = {"image_embeddings", "point_coords", "point_labels"} - {
            one.name for one in self._decoder.get_inputs()
        }
        if missing:
            raise DataError(f"{decoder} is not a decoder of Segment Anything: it has no input {sorted(missing)[0]}.")

    def read(self, pixels: np.ndarray) -> None:
        """Encodes the photo (H, W, 3) uint8 that the next calls of `mask` refer to."""
        self._size = pixels.shape[:2]
        self._scale = SIDE / max(self._size)
        height, width = self._inner = (round(self._size[0] * self._scale), round(self._size[1] * self._scale))
        resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR), np.float32)
        image = np.zeros((1, 3, SIDE, SIDE), np.float32)
        image[0, :, :height, :width] = ((resized - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1)
        (self._embedding,) = self._encoder.run(None, {self._encoder.get_inputs()[0].name: image})

    def mask(self, points: Sequence[tuple[float, float]], labels: Sequence[int]) -> tuple[np.ndarray, float]:
        """The mask (H, W) bool for points (x, y) in pixels, and the IoU that the decoder predicts for it.

        Labels: 1 inside the object, 0 outside it; 2 and 3 are the top left and bottom right corner of a box.
        """
        asked = {
            "image_embeddings": self._embedding,
            "point_coords": np.asarray(
                [[*((x * self._scale, y * self._scale) for x, y in points), (0, 0)]], np.float32
            ),
            "point_labels": np.asarray([[*labels, -1]], np.float32),  # -1 marks the padding point
            "mask_input": np.zeros((1, 1, SIDE // 4, SIDE // 4), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.asarray([64, 64], np.float32),  # the size of an output that is not used
        }
        quality, low = self._decoder.run(["iou_predictions", "low_res_masks"], asked)
        best = int(quality[0].argmax())
        logits = torch.from_numpy(low[:, best : best + 1])
        whole = F.interpolate(logits, (SIDE, SIDE), mode="bilinear")[:, :, : self._inner[0], : self._inner[1]]
        return F.interpolate(whole, self._size, mode="bilinear")[0, 0].numpy() > 0, float(quality[0, best])


def outlined(
    model: SegmentAnything, pixels: np.ndarray, regions: Sequence[tuple[np.ndarray, int]], boxes: Sequence[Box]
) -> tuple[np.ndarray, list[int]]:
    """Segment ids (H, W) int32, 0 = unlabelled, and the category of each id, starting at 1.

    `regions` are stuff masks (H, W) bool with their categories. Objects lie above regions, small ones above large ones.
    """
    model.read(pixels)
    objects: list[tuple[np.ndarray, int]] = []
    for box in boxes:
        mask, quality = model.mask([box.corners[:2], box.corners[2:]], [2, 3])
        known = any(_iou(mask, other) > SAME_OBJECT for other, _ in objects)
        if quality >= LEAST_QUALITY and mask.sum() >= SMALLEST_OBJECT and not known:
            objects.append((mask, box.category))
    ids = np.zeros(pixels.shape[:2], np.int32)
    categories: list[int] = []
    covered = np.zeros(ids.shape, bool)
    for mask, _ in objects:
        covered |= mask
    for own, category in regions:
        mask = _refined(model, own, own & ~covered) & ~covered & (ids == 0)
        if mask.sum() >= SMALLEST_REGION:
            categories.append(category)
            ids[mask] = len(categories)
    for mask, category in sorted(objects, key=lambda one: -int(one[0].sum())):
        categories.append(category)
        ids[mask] = len(categories)
    return ids, categories


def stuff_regions(ids: np.ndarray, categories: Sequence[Category]) -> list[tuple[np.ndarray, int]]:
    """Masks and category ids of the stuff among the segments `ids` (H, W); `categories` starts with that of id 1."""
    return [(ids == number, one.id) for number, one in enumerate(categories, start=1) if not one.is_thing]


def thing_boxes(ids: np.ndarray, categories: Sequence[Category]) -> list[Box]:
    """The boxes around the things among the segments `ids` (H, W); `categories` starts with that of id 1."""
    found = []
    for place, one in zip(find_objects(ids), categories, strict=False):
        if one.is_thing and place is not None:
            rows, columns = place
            found.append(Box((columns.start, rows.start, columns.stop, rows.stop), one.id, 1.0))
    return found


def _refined(model: SegmentAnything, own: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The mask that replaces a stuff segment `own`, of which `free` is not covered by objects; `own` if none fits."""
    points = _points_inside(free)
    if free.sum() < SMALLEST_REGION or not points:
        return own
    mask, quality = model.mask(points, [1] * len(points))
    return mask if quality >= LEAST_QUALITY and _iou(mask, own) > SAME_REGION else own


def _points_inside(mask: np.ndarray) -> list[tuple[float, float]]:
    """Up to `POINTS` points (x, y), each as far as possible from the edge and not close to an earlier one."""
    distance = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    rows, columns = np.indices(mask.shape)
    points: list[tuple[float, float]] = []
    while len(points) < POINTS and distance.max() >= 2:
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        points.append((float(x), float(y)))
        distance[np.hypot(rows - y, columns - x) <= 1.5 * distance[y, x]] = 0
    return points


def _iou(one: np.ndarray, two: np.ndarray) -> float:
    return float((one & two).sum() / max(1, (one | two).sum()))
