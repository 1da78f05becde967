"""Maps as pictures: values and masks drawn in colour over their photo."""

import matplotlib
import numpy as np

from analysis.style import SIMILARITY_MAP

_GREY = np.array([77, 150, 29], dtype=np.float32) / 256  # weights of red, green and blue in ITU-R BT.601


def colour_table(colour_map: str = SIMILARITY_MAP) -> np.ndarray:
    """(256, 3) uint8: the colours of a matplotlib colour map, from lowest to highest value."""
    return (matplotlib.colormaps[colour_map](np.linspace(0, 1, 256))[:, :3] * 255 + 0.5).astype(np.uint8)


def grey_photo(image: np.ndarray) -> np.ndarray:
    """The luma (H, W) float32, in 0..255, of a photo (H, W, 3) uint8."""
    return np.asarray(image @ _GREY)


def heat_over_photo(
    image: np.ndarray,
    values: np.ndarray,
    limits: tuple[float, float],
    colour_map: str = SIMILARITY_MAP,
    strength: float = 0.72,
) -> np.ndarray:
    """A map (H, W) in colour over the grey photo (H, W, 3) uint8 -> (H, W, 3) uint8; `limits` end the colour scale.

    `strength` (0..1): opacity of the map. Raises ValueError if the sizes differ.
    """
    if values.shape != image.shape[:2]:
        raise ValueError(f"The map is {values.shape} and the photo {image.shape[:2]}; sizes must agree.")
    low, high = limits
    place = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    colours = colour_table(colour_map)[np.rint(place * 255).astype(np.uint8)]
    return np.rint(strength * colours + (1 - strength) * grey_photo(image)[..., None]).astype(np.uint8)


def mask_over_photo(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mask probabilities (H, W) in colour over the photo (H, W, 3) uint8, with a white line at 0.5."""
    picture = heat_over_photo(image, mask, (0.0, 1.0), strength=0.6)
    inside = mask >= 0.5
    edge = np.zeros_like(inside)
    for step in range(1, 1 + max(1, round(max(mask.shape) / 400))):
        edge[step:] |= inside[step:] != inside[:-step]
        edge[:, step:] |= inside[:, step:] != inside[:, :-step]
    picture[edge] = 255
    return picture
