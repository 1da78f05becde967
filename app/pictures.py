"""Pictures that travel inside the page."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image


def data_address(picture: np.ndarray | Image.Image, form: str, **options: Any) -> str:
    """A picture, or its pixels (H, W, 3) uint8, as an address for `img`; `form` is Pillow's name of the format."""
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
