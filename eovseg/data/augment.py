"""Joint augmentation of a photo and its segment map: scale, crop, flip, instance copy-paste and colour."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image

from eovseg.data.sources import VOID, Sample, SegmentLabel
from eovseg.errors import ConfigError

PADDING_GREY = 128


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes. The defaults are those of XS, tuned for small data sets.

    `scale` is relative to a photo that just fits the crop (longer side = crop size) and drawn from the distribution
    `scale_law`; `aspect` (1.1 = up to 10 % wider or taller) is drawn log-uniformly. A photo smaller than the crop is
    placed at random, or at the upper left if `corner` is set. Colour ranges are ± around no change; `hue` is a fraction
    of the full circle. `paste_side` is the longer side of a pasted instance as a fraction of the crop.
    """

    scale: tuple[float, float] = (0.9, 2.2)
    scale_law: Literal["log-uniform", "uniform"] = "log-uniform"
    aspect: float = 1.1
    corner: bool = False
    flip: bool = True
    brightness: float = 0.25
    contrast: float = 0.3
    saturation: float = 0.4
    hue: float = 0.04
    grey_probability: float = 0.03
    paste_probability: float = 0.5
    paste_instances: int = 3
    paste_side: tuple[float, float] = (0.15, 0.7)

    def __post_init__(self) -> None:
        if not 0.0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f"scale is {self.scale}; give two positive numbers, the smaller one first.")
        if self.scale_law not in ("log-uniform", "uniform"):
            raise ConfigError(f"scale_law is {self.scale_law!r}; choose 'log-uniform' or 'uniform'.")
        if self.aspect < 1.0:
            raise ConfigError(f"aspect is {self.aspect}; give a number of at least 1 (1 = unchanged).")
        if not 0.0 <= self.paste_probability <= 1.0 or self.paste_instances < 1:
            raise ConfigError("paste_probability must be between 0 and 1, and paste_instances at least 1.")

    @classmethod
    def unchanged(cls) -> "Augmentation":
        """No augmentation: the full photo, fitted into the crop."""
        return cls(
            scale=(1.0, 1.0), aspect=1.0, corner=True, flip=False, brightness=0.0, contrast=0.0, saturation=0.0,
            hue=0.0, grey_probability=0.0, paste_probability=0.0,
        )  # fmt: skip

    @classmethod
    def released(cls) -> "Augmentation":
        """Large-scale jitter of the released configuration: scale 0.1 to 2.0, one crop, flips, no colour jitter."""
        return replace(cls.unchanged(), scale=(0.1, 2.0), scale_law="uniform", flip=True)


def augment(
    sample: Sample, donor: Sample | None, crop_size: int, settings: Augmentation, rng: np.random.Generator
) -> Sample:
    """A random square view of `sample`, (crop_size, crop_size), possibly with pasted instances of `donor`."""
    view = random_view(sample, crop_size, settings, rng)
    if donor is not None and rng.random() < settings.paste_probability:
        for _ in range(int(rng.integers(1, settings.paste_instances + 1))):
            paste_instance(view, donor, settings, rng)
    view.image = jitter_colour(view.image, settings, rng)
    return view


def random_view(sample: Sample, crop_size: int, settings: Augmentation, rng: np.random.Generator) -> Sample:
    """Scales and crops photo and segment map with the same random box, padding with grey and VOID.

    Uses bilinear interpolation for the photo and nearest-neighbour for the ids, with the same pixel centres.
    """
    height, width = sample.segment_map.shape
    draw = _log_uniform if settings.scale_law == "log-uniform" else _uniform
    scale = draw(rng, *settings.scale) * crop_size / max(height, width)
    stretch = _log_uniform(rng, 1.0 / settings.aspect, settings.aspect) ** 0.5
    scaled_height, scaled_width = height * scale / stretch, width * scale * stretch
    top, bottom, y0, y1 = _random_span(scaled_height, height, crop_size, settings.corner, rng)
    left, right, x0, x1 = _random_span(scaled_width, width, crop_size, settings.corner, rng)
    photo = Image.fromarray(sample.image)
    scaled = photo.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1))
    rows, columns = _nearest(y0, y1, bottom - top, height), _nearest(x0, x1, right - left, width)
    image = np.full((crop_size, crop_size, 3), PADDING_GREY, dtype=np.uint8)
    segment_map = np.full((crop_size, crop_size), VOID, dtype=np.uint16)
    image[top:bottom, left:right] = np.asarray(scaled)
    segment_map[top:bottom, left:right] = sample.segment_map[rows[:, None], columns]
    if settings.flip and rng.random() < 0.5:
        end = right if settings.corner else crop_size  # flip the photo only, so that the padding stays in place
        image[:, :end], segment_map[:, :end] = image[:, :end][:, ::-1].copy(), segment_map[:, :end][:, ::-1].copy()
    return Sample(image, segment_map, dict(sample.segments), sample.known)


def _random_span(
    scaled: float, size: int, crop_size: int, corner: bool, rng: np.random.Generator
) -> tuple[int, int, float, float]:
    """Along one axis: the photo's position in the crop, [start, stop), and its visible part, [low, high]."""
    length = min(crop_size, max(1, round(scaled)))
    start = 0 if corner else int(rng.integers(0, crop_size - length + 1))
    seen = min(float(size), size * crop_size / scaled)
    low = rng.random() * (size - seen)
    return start, start + length, low, low + seen


def _nearest(low: float, high: float, length: int, size: int) -> np.ndarray:
    indices = low + (np.arange(length) + 0.5) * ((high - low) / length)
    return np.minimum(indices.astype(np.intp), size - 1)


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def paste_instance(view: Sample, donor: Sample, settings: Augmentation, rng: np.random.Generator) -> None:
    """Pastes one random thing of `donor` into `view`, in place.

    The pasted pixels become a labelled instance. Things of classes that may not compete in `view` and things truncated
    by the donor's border are not pasted.
    """
    height, width = donor.segment_map.shape
    things = [
        number
        for number, label in donor.segments.items()
        if label.is_thing and not label.is_crowd and view.known[label.class_index]
    ]
    if not things:
        return
    number = things[int(rng.integers(len(things)))]
    inside = donor.segment_map == number
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(rows) < 8 or len(columns) < 8:  # too small to enlarge
        return
    y0, y1, x0, x1 = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if y0 == 0 or x0 == 0 or y1 == height or x1 == width:
        return
    crop_size = view.image.shape[0]
    longer = rng.uniform(*settings.paste_side) * crop_size
    factor = min(longer / max(y1 - y0, x1 - x0), 2.0)
    size = (max(4, round((x1 - x0) * factor)), max(4, round((y1 - y0) * factor)))
    pixels = np.asarray(Image.fromarray(donor.image[y0:y1, x0:x1]).resize(size, Image.Resampling.BILINEAR))
    mask = Image.fromarray((inside[y0:y1, x0:x1] * 255).astype(np.uint8))
    alpha = np.asarray(mask.resize(size, Image.Resampling.BILINEAR))
    if settings.flip and rng.random() < 0.5:
        pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
    _blend(view, pixels, alpha, donor.segments[number], rng)


def _blend(view: Sample, pixels: np.ndarray, alpha: np.ndarray, label: SegmentLabel, rng: np.random.Generator) -> None:
    crop_size = view.image.shape[0]
    height, width = alpha.shape
    # Keep at least half of the instance inside along each axis.
    top = int(rng.integers(-(height // 4), max(crop_size - height + height // 4, -(height // 4)) + 1))
    left = int(rng.integers(-(width // 4), max(crop_size - width + width // 4, -(width // 4)) + 1))
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + height, crop_size), min(left + width, crop_size)
    pixels = pixels[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
    alpha = alpha[y0 - top : y1 - top, x0 - left : x1 - left]
    region = view.image[y0:y1, x0:x1]
    region[...] = region + (pixels - region) * (alpha[..., None].astype(np.float32) / 255.0)
    number = max(view.segments, default=0) + 1
    view.segments[number] = label
    view.segment_map[y0:y1, x0:x1][alpha > 127] = number


def jitter_colour(image: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast, saturation and hue as one affine map of RGB, (H, W, 3) uint8 in and out."""
    luma = np.array([0.299, 0.587, 0.114])
    brightness = 1.0 + rng.uniform(-settings.brightness, settings.brightness)
    contrast = 1.0 + rng.uniform(-settings.contrast, settings.contrast)
    saturation = 1.0 + rng.uniform(-settings.saturation, settings.saturation)
    angle = 2.0 * np.pi * rng.uniform(-settings.hue, settings.hue)
    if rng.random() < settings.grey_probability:
        saturation = 0.0
    # Hue rotates the colour around the grey axis (1, 1, 1); saturation scales its distance from its luma.
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3.0)
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) / 3.0
    saturate = saturation * np.eye(3) + (1.0 - saturation) * luma
    matrix = brightness * contrast * (saturate @ turn)
    mean = float(image.reshape(-1, 3)[::37].mean(axis=0) @ luma) * brightness
    affine = np.column_stack([matrix, np.full(3, (1.0 - contrast) * mean)])
    return np.array(Image.fromarray(image).convert("RGB", tuple(affine.ravel().tolist())))
