"""The style of all figures, for paper and screen: colours, colour maps and sizes, without any plotting library."""

from typing import Any

import numpy as np

SIMILARITY_MAP = "viridis"  # perceptually uniform and readable in grey; rainbow maps create false edges
WEIGHT_MAP = "cividis"
# Okabe and Ito's colour-blind-safe palette with dark grey for black; then light grey and three tints.
CATEGORIES = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#4d4d4d",
    "#b3b3b3", "#99c7e0", "#f5d899", "#99d8c7",
)  # fmt: skip
INK = "#222222"
OURS, PAPER = "#0072b2", "#b3b3b3"  # measured here, and quoted from the paper
POINT = "#d55e00"  # a marked pixel
CHANGE_COLOURS = {"renamed": "#e69f00", "reshaped": "#56b4e9", "gone": "#d55e00", "new": "#009e73"}
CELL_INCHES = 2.6  # width of one picture of a sheet

MATPLOTLIB: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,  # words come from the user: a "$" in them is not a formula
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text in PDF and SVG
    "svg.fonttype": "none",
}
PLOTLY: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
    "margin": {"l": 60, "r": 20, "t": 50, "b": 50},
    "colorway": list(CATEGORIES),
}


def cluster_rgb(labels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: the colour of every cluster (counted from 0); colours repeat after the last one."""
    table = np.array([list(bytes.fromhex(colour[1:])) for colour in CATEGORIES], dtype=np.uint8)
    return table[np.asarray(labels) % len(table)]
