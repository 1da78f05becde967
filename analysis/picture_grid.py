"""Regular grids of pictures, with sizes in inches, equal gaps, and text that is readable at page width."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.style import CELL_INCHES, MATPLOTLIB

PAGE_INCHES = 9.6  # shown at about 90 pixels per inch in a README or notebook, where 9 points are 11 pixels
GAP_INCHES = 0.08
LINE_INCHES = 0.165  # line height of text at 9 points
LETTER_INCHES = 0.072  # mean letter width at 9 points
TALLEST = 1.4  # maximum height of a cell relative to its width; taller photos are drawn narrower


def cell_width(columns: int, left: float = 0.0) -> float:
    """Width in inches of each of `columns` pictures on a page, with `left` inches reserved for row labels."""
    return min(CELL_INCHES, (PAGE_INCHES - left - GAP_INCHES * (columns - 1)) / columns)


def wrapped(text: str, width: float) -> str:
    """`text` wrapped to `width` inches at 9 points; existing line breaks are kept."""
    letters = max(8, int(width / LETTER_INCHES))
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, letters) or [""])


def text_height(texts: Sequence[str]) -> float:
    """Height in inches of the tallest of the texts."""
    return LINE_INCHES * max((text.count("\n") + 1 for text in texts if text), default=0)


def pad_lines(texts: Sequence[str]) -> list[str]:
    """The texts, padded with empty lines to the same number of lines."""
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
    """A figure and its axes (rows, columns) without ticks, all equally wide and as high as their row's photo requires.

    `shapes`: height and width of the photo in each row. Space in inches: `heads` above each row for titles, `under`
    below every row for text, `foot` below the whole grid, `left` beside the rows for their labels.
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
                hide_axes(axes[row, column])
    return figure, axes


def hide_axes(axis: Axes) -> None:
    """Removes ticks and frame from an axis."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def head_text(axis: Axes, text: str, head: float) -> None:
    """A title whose first line is `head` inches above the picture, so that the titles of a row are aligned."""
    axis.annotate(
        text, (0.5, 1), (0, 72 * head - 2), xycoords="axes fraction", textcoords="offset points", ha="center", va="top",
        annotation_clip=False, fontsize=9,
    )  # fmt: skip


def foot_text(figure: Figure, text: str, left: float = 0.0) -> None:
    """Text along the lower edge of a figure, starting at `left` inches."""
    figure.text(left / figure.get_figwidth(), 0.04 / figure.get_figheight(), text, ha="left", va="bottom", fontsize=9)
