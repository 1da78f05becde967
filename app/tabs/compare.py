"""Two pictures of the same photo with a divider, and optionally a pixel to pick or frames around changes.

Gradio's own `ImageSlider` has no alternative text, cannot be used with the keyboard and does not report clicks, so this
is a custom component: app/tabs/compare.html and compare.js.
"""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.markup import scripted
from app.tabs.pieces import gradient


@dataclass(frozen=True)
class Side:
    """One of the two pictures: its name, its data URL, and its alternative text."""

    name: str
    source: str
    alt: str


@dataclass(frozen=True)
class Row:
    """A table row and its frame in the picture, if any; `box` is x0, y0, x1, y1 as shares of width and height."""

    number: str
    kind: str
    colour: str
    box: tuple[float, float, float, float] | None
    cells: tuple[str, ...]


def comparison(elem_id: str) -> gr.HTML:
    """The empty component; its event `pick` has the pixel `x`, `y` of the photo."""
    return scripted("compare", folder=Path(__file__).parent, elem_id=elem_id, elem_classes="tab-body main")


def comparison_value(
    sides: Sequence[Side],
    size: tuple[int, int],
    *,
    scale: tuple[tuple[float, float], str, str] | None = None,
    hint: str = "",
    point: tuple[int, int] | None = None,
    columns: Sequence[str] = (),
    rows: Sequence[Row] = (),
) -> dict[str, Any]:
    """The component's value: two `sides`, `size` (width, height) of the photo, and `scale` (limits, unit, colour map).

    With a `point` (x, y), pixels can be picked, starting with that one. All texts are plain; the script escapes them.
    """
    return {
        "token": uuid.uuid4().hex,
        "left": asdict(sides[0]),
        "right": asdict(sides[1]),
        "size": list(size),
        "scale": None if scale is None else _scale(*scale),
        "hint": hint,
        "point": point,
        "columns": list(columns),
        "rows": [asdict(row) for row in rows],
    }


def _scale(limits: tuple[float, float], unit: str, colour_map: str) -> dict[str, str]:
    low, high = (f"{value:.2f}" for value in limits)
    return {"low": low, "high": high, "unit": unit, "gradient": gradient(colour_map)}
