"""Pooled features of labelled and unlabelled regions: training data of the joint space (`eovseg.model.joint_space`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional as F

from eovseg.atomic_files import atomic_file
from eovseg.data.label_files import read_photo
from eovseg.data.panoptic_folder import PanopticFolder, Photo
from eovseg.data.split import photo_identity
from eovseg.data.unlabelled import list_photos
from eovseg.model.efficientnet import PIXEL_MEAN, PIXEL_STD
from eovseg.model.values import TowerFeatures

STRIDE = 32
PhotoFeatures = Callable[[Tensor], TowerFeatures]  # the image encoder


@dataclass(frozen=True)
class Regions:
    """M regions: pooled `features` (M, F) float32, `category_ids` (M,) with 0 = unlabelled, `photos` (M,) photo
    identities, `short_sides` (M,) of the view in pixels (0 = random view), `areas` (M,) as fractions of the view.
    """

    features: Tensor
    category_ids: np.ndarray
    photos: np.ndarray
    short_sides: np.ndarray
    areas: np.ndarray

    def select(self, keep: np.ndarray) -> "Regions":
        """The regions selected by `keep` (M,) bool."""
        return Regions(
            self.features[torch.from_numpy(keep)],
            self.category_ids[keep],
            self.photos[keep],
            self.short_sides[keep],
            self.areas[keep],
        )

    @staticmethod
    def join(parts: Sequence["Regions"]) -> "Regions":
        """Concatenates regions of several sources."""
        return Regions(
            torch.cat([part.features for part in parts]),
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("category_ids", "photos", "short_sides", "areas")
            ),
        )

    def save(self, path: Path) -> None:
        """Writes an .npz file atomically."""
        with atomic_file(path) as part, part.open("wb") as file:
            np.savez(file, **{**vars(self), "features": self.features.numpy()})

    @staticmethod
    def load(path: Path) -> "Regions":
        """Reads a file written by `save`."""
        with np.load(path) as arrays:
            return Regions(**{**arrays, "features": torch.from_numpy(arrays["features"])})


def labelled_regions(
    encoder: PhotoFeatures, folder: PanopticFolder, short_sides: Sequence[int], random_views: int, seed: int
) -> Regions:
    """All segments of `folder` except crowds, pooled in views of the given short sides and in random views."""
    parts = []
    for photo in folder.photos:
        rng = np.random.default_rng([seed, photo.image_id])
        image, segment_map = folder.load_image(photo), folder.load_segment_map(photo)
        views = [(side, *resized(image, segment_map, side)) for side in short_sides]
        views += [(0, *random_view(image, segment_map, rng)) for _ in range(random_views)]
        parts += [_segments_of_view(encoder, folder, photo, *view) for view in views]
    return Regions.join(parts)


def unlabelled_regions(encoder: PhotoFeatures, folder: Path, views: int, boxes: int, seed: int) -> Regions:
    """Random boxes in random views of every photo in `folder`; raises `DataError` if there are no photos."""
    parts = []
    for index, path in enumerate(list_photos(folder)):
        rng = np.random.default_rng([seed, index])
        image = read_photo(path)
        for _ in range(views):
            view, _ = random_view(image, np.zeros(image.shape[:2], np.int32), rng)
            dense = dense_map(encoder, view)  # (F, h, w)
            features, areas = zip(*(_box_mean(dense, rng) for _ in range(boxes)), strict=True)
            parts.append(_regions(torch.stack(features), [0] * boxes, f"unlabelled/{path.name}", 0, areas))
    return Regions.join(parts)


def resized(image: np.ndarray, segment_map: np.ndarray, short_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and segment map with the shorter side at `short_side` pixels."""
    height, width = segment_map.shape
    scale = short_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)),
        np.asarray(Image.fromarray(segment_map).resize(size, Image.Resampling.NEAREST)),
    )


def random_view(
    image: np.ndarray, segment_map: np.ndarray, rng: np.random.Generator, window: int = 384
) -> tuple[np.ndarray, np.ndarray]:
    """A view at a random scale (short side 224 to 672), cropped to `window` pixels, with random flip and colours."""
    image, segment_map = resized(image, segment_map, int(224 * 3 ** rng.random()))
    top, left = (int(rng.integers(0, max(1, size - window + 1))) for size in segment_map.shape)
    cut = (slice(top, top + window), slice(left, left + window))
    image, segment_map = image[cut], segment_map[cut]
    if rng.random() < 0.5:
        image, segment_map = image[:, ::-1], segment_map[:, ::-1]
    picture = Image.fromarray(np.ascontiguousarray(image))
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = change(picture).enhance(rng.uniform(0.7, 1.3))
    return np.asarray(picture), segment_map


def dense_map(encoder: PhotoFeatures, image: np.ndarray) -> Tensor:
    """The map that the joint space pools, (F, h, w) float32, of a zero-padded image (H, W, 3) uint8."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).unsqueeze(0).float()  # (1, 3, H, W)
    height, width = pixels.shape[-2:]
    pixels = F.pad((pixels - PIXEL_MEAN) / PIXEL_STD, (0, -width % STRIDE, 0, -height % STRIDE))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        maps = encoder(pixels.to(memory_format=torch.channels_last))
    return maps.dense[0].float().clone()


def coverage(segment_map: np.ndarray, ids: Sequence[int], size: Sequence[int]) -> Tensor:
    """Fraction of each cell of a map of `size` (h, w) that each segment covers: (M, h, w) in [0, 1].

    Cells are squares; the padding of the segment map to multiples of 32 is uncovered.
    """
    height, width = segment_map.shape
    padded = np.pad(segment_map, ((0, -height % STRIDE), (0, -width % STRIDE)))
    cells = padded.reshape(size[0], padded.shape[0] // size[0], size[1], padded.shape[1] // size[1])
    return torch.from_numpy(np.stack([(cells == i).mean((1, 3), dtype=np.float32) for i in ids]))


def pool(dense: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of `dense` (C, h, w) for each of `weights` (M, h, w): (M, C); zeros for zero weights."""
    total = weights.sum((1, 2)).clamp_min(1e-8).unsqueeze(1)
    return weights.flatten(1) @ dense.flatten(1).T / total


def _segments_of_view(
    encoder: PhotoFeatures, folder: PanopticFolder, photo: Photo, side: int, image: np.ndarray, segment_map: np.ndarray
) -> Regions:
    visible = set(np.unique(segment_map).tolist())
    segments = [s for s in photo.segments if s.id in visible and not s.is_crowd]
    identity = photo_identity(folder, photo)
    if not segments:
        return _regions(torch.zeros(0), [], identity, side, [])
    dense = dense_map(encoder, image)
    weights = coverage(segment_map, [s.id for s in segments], dense.shape[-2:])
    areas = [float((segment_map == s.id).mean()) for s in segments]
    return _regions(pool(dense, weights), [s.category_id for s in segments], identity, side, areas)


def _box_mean(dense: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
    height, width = dense.shape[1:]
    box = [max(1, round(size ** rng.random())) for size in (height, width)]
    top, left = int(rng.integers(0, height - box[0] + 1)), int(rng.integers(0, width - box[1] + 1))
    cut = dense[:, top : top + box[0], left : left + box[1]]
    return cut.mean((1, 2)), box[0] * box[1] / (height * width)


def _regions(features: Tensor, ids: Sequence[int], photo: str, side: int, areas: Sequence[float]) -> Regions:
    count = len(features)
    return Regions(
        features,
        np.asarray(ids, np.int64),
        np.full(count, photo),
        np.full(count, side, np.int64),
        np.asarray(areas, np.float32),
    )
