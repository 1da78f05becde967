"""Conversion between the network's grid (stride 4 of the padded input) and the original photo."""

import numpy as np
import torch
from torch import Tensor

from eovseg.composition.geometry import MaskGeometry
from eovseg.stages import ImageState

STRIDE = 4


def geometry(state: ImageState) -> MaskGeometry:
    """The mapping from the grid of an encoded photo to the photo."""
    height, width = state.image.shape[:2]
    return MaskGeometry(state.features.padded_size, state.features.image_size, (height, width))


@torch.inference_mode()
def on_photo(maps: Tensor, state: ImageState) -> np.ndarray:
    """Maps (n, h, w) on the network's grid, resized bilinearly to the photo: (n, H, W) float32, padding removed."""
    bands = [band for _, band in geometry(state).bands(maps.float())]
    return torch.cat(bands, dim=1).cpu().numpy()


def grid_cell(state: ImageState, x: float, y: float) -> tuple[int, int]:
    """Row and column of the grid cell at photo pixel (x, y); points outside the photo give the nearest cell."""
    height, width = state.image.shape[:2]
    input_height, input_width = state.features.image_size
    row = int((y + 0.5) * input_height / height / STRIDE)
    column = int((x + 0.5) * input_width / width / STRIDE)
    last_row, last_column = (input_height - 1) // STRIDE, (input_width - 1) // STRIDE
    return min(max(row, 0), last_row), min(max(column, 0), last_column)
