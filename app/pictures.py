"""Pictures that are embedded in the page."""

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from eovseg.result import Result


def data_address(picture: np.ndarray | Image.Image, form: str, **options: Any) -> str:
    """A picture, or its pixels (H, W, 3) uint8, as a data URL for `img`; `form` is Pillow's name of the format."""
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def downscaled(result: Result, side: int) -> Result:
    """The result scaled down to at most `side` pixels, for display; unchanged if it has instance masks."""
    height, width = result.segment_map.shape
    scale = min(1.0, side / max(height, width))
    if scale == 1 or result.instance_masks is not None:
        return result
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.asarray(Image.fromarray(result.image).resize(size, Image.Resampling.BOX, reducing_gap=2))
    segment_map = np.asarray(Image.fromarray(result.segment_map).resize(size, Image.Resampling.NEAREST))
    return replace(result, image=image, segment_map=segment_map)
