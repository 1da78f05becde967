"""Even grids of pictures: every size in inches, the same gaps everywhere, text that stays readable at page width."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.style import CELL_INCHES, MATPLOTLIB

PAGE_INCHES = 9.6  # a README or notebook shows it at about 90 pixels an inch: 9 points are 11 pixels there
GAP_INCHES = 0.08
LINE_INCHES = 0.165  # of text at 9 points
LETTER_INCHES = 0.072  # its mean width
TALLEST = 1.4  # height of a cell in widths; taller photos get narrower


def cell_width(columns: int, left: float = 0.0) -> float:
    """Inches of one of `columns` pictures beside each other on a page, `left` inches kept for row labels."""
    return min(CELL_INCHES, (PAGE_INCHES - left - GAP_INCHES * (columns - 1)) / columns)


def wrapped(text: str, width: float) -> str:
    """`text` with lines broken to fit `width` inches at 9 points; its own line breaks are kept."""
    letters = max(8, int(width / LETTER_INCHES))
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, letters) or [""])


def text_height(texts: Sequence[str]) -> float:
    """Inches that the tallest of some texts needs."""
    return LINE_INCHES * max((text.count("\n") + 1 for text in texts if text), default=0)


def level(texts: Sequence[str]) -> list[str]:
    """Texts with empty lines below, until all have as many as the longest."""
    lines = [text.count("\n") for text in texts]
    return [text + "\n " * (max(lines) - count) for text, count in zip(texts, lines, strict=True)]


def picture_grid(
    shapes: Sequence[Sequence[int]],
    columns: int,
    heads: Sequence[float],
    *,
    left: float = 0.0,
    under: float = 0.0,
    foot: float = 0.0,
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (rows, columns) without ticks, each as wide as the others and as high as its row's photo.

    `shapes`: height and width of the photo of each row. `heads`: inches above each row for titles. `under`: below every
    row for text, `foot`: below all, `left`: beside the rows for their labels, each in inches.
    """
    cell = cell_width(columns, left)
    heights = [min(cell * height / width, cell * TALLEST) for height, width, *_ in shapes]
    tops = []
    y = GAP_INCHES / 2
    for height, head in zip(heights, heads, strict=True):
        tops.append(y + head)
        y += head + height + under + GAP_INCHES
    size = (left + columns * cell + (columns - 1) * GAP_INCHES, y + foot)
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=size)
        axes = np.empty((len(heights), columns), dtype=object)
        for row, (top, height) in enumerate(zip(tops, heights, strict=True)):
            for column in range(columns):
                x = left + column * (cell + GAP_INCHES)
                place = (x / size[0], 1 - (top + height) / size[1], cell / size[0], height / size[1])
                axes[row, column] = figure.add_axes(place)
                bare(axes[row, column])
    return figure, axes


def bare(axis: Axes) -> None:
    """An axis without ticks and frame."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def head_text(axis: Axes, text: str, head: float) -> None:
    """A title whose first line begins `head` inches above the picture, so that titles of a row begin together."""
    axis.annotate(
        text, (0.5, 1), (0, 72 * head - 2), xycoords="axes fraction", textcoords="offset points", ha="center", va="top",
        annotation_clip=False, fontsize=9,
    )  # fmt: skip


def foot_text(figure: Figure, text: str, left: float = 0.0) -> None:
    """Text along the lower edge of a figure, from `left` inches on."""
    figure.text(left / figure.get_figwidth(), 0.04 / figure.get_figheight(), text, ha="left", va="bottom", fontsize=9)
