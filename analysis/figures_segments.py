"""Figures of results: photos with every segment named (Fig. 10, 11), and differences between two results (Fig. 6)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from scipy import ndimage

from analysis.ablation import MATCH_IOU, SegmentChange, changed_pixels
from analysis.clustering import borders
from analysis.picture_grid import PAGE_INCHES
from analysis.pictures import grey_photo
from analysis.style import CELL_INCHES, CHANGE_COLOURS, INK, MATPLOTLIB
from eovseg.colours import segment_colours, text_colour
from eovseg.overlay import draw_overlay
from eovseg.result import Result

PANEL_INCHES = 1.6 * CELL_INCHES
TITLE_INCHES = 0.3
LINE_INCHES = 0.19
NAMED_SEGMENTS = 24
LONGEST_NAME = 28
FEW_PIXELS = 24
UNLABELLED = 236  # pale grey
Named = tuple[str, tuple[float, float, float]]  # a segment's name and its colour, 0..1


class _Word(NamedTuple):
    """A label, which is all that `segment_colours` needs."""

    label: str


@rc_context(MATPLOTLIB)
def panoptic_figure(results: Sequence[Result], columns: int = 2) -> Figure:
    """Fig. 10 and 11: photos above their panoptic results and the names of all segments, `columns` photos per row.

    A name is drawn inside its segment if it fits, and is always in the list below, largest segment first.
    """
    columns = min(columns, len(results))
    rows = [results[start : start + columns] for start in range(0, len(results), columns)]
    legends = [[_named_colours(result) for result in row] for row in rows]
    heights: list[float] = []
    for row, entries in zip(rows, legends, strict=True):
        picture = PANEL_INCHES * max(result.image.shape[0] / result.image.shape[1] for result in row)
        heights += [picture, picture, LINE_INCHES * max(map(_legend_lines, entries)) + 0.1]
    height = sum(heights) + TITLE_INCHES * len(rows) + 0.2
    figure = Figure(figsize=(columns * PANEL_INCHES + 0.2, height), layout="constrained")
    axes: np.ndarray = figure.subplots(3 * len(rows), columns, squeeze=False, height_ratios=heights)
    for axis in axes.ravel():
        axis.set_axis_off()
    for number, (row, entries) in enumerate(zip(rows, legends, strict=True)):
        for column, (result, named) in enumerate(zip(row, entries, strict=True)):
            photo, overlay, names = axes[3 * number : 3 * number + 3, column]
            photo.imshow(result.image)
            photo.set_title(result.name)
            photo.set_anchor("S")  # so that photo and result touch even if the row is higher than both
            overlay.imshow(np.asarray(result.overlay()))
            overlay.set_anchor("N")
            _list_names(names, named)
    return figure


@rc_context(MATPLOTLIB)
def labelled_figure(panels: Mapping[str, np.ndarray | Result], names: Mapping[int, str]) -> Figure:
    """Panels side by side: title -> photo (H, W, 3), segment map (H, W), 0 = unlabelled, or a result.

    `names` gives the word of each id of the maps. A word has the same colour in the key and in all panels, results
    included. Maps of only a few pixels are drawn with a grid between the pixels.
    """
    pictures = {title: panel.image if isinstance(panel, Result) else panel for title, panel in panels.items()}
    results = [panel for panel in panels.values() if isinstance(panel, Result)]
    drawn = {int(number) for panel in pictures.values() if panel.ndim == 2 for number in np.unique(panel)}
    words = {number: _Word(name) for number, name in names.items() if number in drawn}
    found = dict.fromkeys(segment.label for result in results for segment in result.named)
    keys = [*words.values(), *(_Word(label) for label in found if _Word(label) not in words.values())]
    colours = segment_colours(keys)
    of_label = {word.label: colour for word, colour in zip(reversed(keys), colours[::-1], strict=True)}
    table = np.full((max(drawn | {0}) + 1, 3), UNLABELLED, np.uint8)
    table[list(words)] = colours[: len(words)]
    for title, panel in panels.items():
        if isinstance(panel, Result):
            own = np.array([of_label[segment.label] for segment in panel.named], np.uint8).reshape(-1, 3)
            overlay = draw_overlay(panel.image, panel.segment_map, panel.named, labels=False, colours=own)
            pictures[title] = np.asarray(overlay)
    width = min(PANEL_INCHES, PAGE_INCHES / len(panels))
    picture = width * max(panel.shape[0] / panel.shape[1] for panel in pictures.values())
    figure = Figure(figsize=(width * len(panels) + 0.2, picture + TITLE_INCHES + 0.4), layout="constrained")
    axes: np.ndarray = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (title, panel) in zip(axes, pictures.items(), strict=True):
        axis.imshow(panel if panel.ndim == 3 else table[panel], interpolation="nearest")
        axis.set_title(title)
        axis.set_axis_off()
        if panel.ndim == 2 and panel.shape[1] <= FEW_PIXELS:
            axis.hlines(np.arange(1, panel.shape[0]) - 0.5, -0.5, panel.shape[1] - 0.5, color="white", linewidth=1)
            axis.vlines(np.arange(1, panel.shape[1]) - 0.5, -0.5, panel.shape[0] - 0.5, color="white", linewidth=1)
    handles = [Patch(color=colour / 255, label=word.label) for word, colour in zip(keys, colours, strict=True)]
    if 0 in drawn:
        handles.append(Patch(color=table[0] / 255, label="unlabelled"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8))
    return figure


@rc_context(MATPLOTLIB)
def ablation_figure(
    off: Result,
    on: Result,
    changes: Sequence[SegmentChange],
    titles: tuple[str, str] = ("TDEE switched off", "TDEE on"),
) -> Figure:
    """Fig. 6: the results without and with TDEE, and below them the changes, numbered on the photo and listed.

    The largest change comes first. If nothing changed, a sentence says so.
    """
    picture = PANEL_INCHES * off.image.shape[0] / off.image.shape[1]
    changed = _largest_first(off, on, [change for change in changes if change.change != "same"])
    shown = changed[: max(6, int(picture / LINE_INCHES) - 2)]
    lines = len(shown) + 1 + (len(changed) > len(shown))
    heights = [picture + TITLE_INCHES] + [max(picture, LINE_INCHES * lines) + TITLE_INCHES] * bool(changed)
    figure = Figure(figsize=(2 * PANEL_INCHES + 0.2, sum(heights) + 0.5), layout="constrained")
    axes: np.ndarray = figure.subplots(len(heights), 2, squeeze=False, height_ratios=heights)
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, result, title in zip(axes[0], (off, on), titles, strict=True):
        axis.imshow(np.asarray(result.overlay()))
        axis.set_title(title)
    if not changed:
        figure.supxlabel("no segment changed", fontsize=9)
        return figure
    _draw_changes(axes[1, 0], off, on, shown)
    _list_changes(axes[1, 1], off, on, shown, len(changed) - len(shown), axes_inches=heights[1] - TITLE_INCHES)
    figure.supxlabel(
        "strong: this pixel changed · pale: unchanged pixel of a changed segment · IoU: intersection over union\n"
        "renamed: another class · reshaped: same class, another outline · "
        f"gone, new: no counterpart with an IoU of at least {MATCH_IOU:g}",
        fontsize=8,
    )
    return figure


def _largest_first(off: Result, on: Result, changes: Sequence[SegmentChange]) -> list[SegmentChange]:
    def area(change: SegmentChange) -> int:
        sides = ((off, change.before), (on, change.after))
        return max(result.segments[place].area for result, place in sides if place is not None)

    return sorted(changes, key=area, reverse=True)


def _draw_changes(axis: Axes, off: Result, on: Result, changes: Sequence[SegmentChange]) -> None:
    """The grey photo with the pixels of each change in the colour of its kind, and its number."""
    owner, moved = changed_pixels(off, on, changes)
    colours = np.array([(0, 0, 0), *(to_rgb(CHANGE_COLOURS[change.change]) for change in changes)])
    strength = np.where(owner > 0, np.where(moved, 0.75, 0.25), 0.0)[..., None]
    grey = grey_photo(off.image)[..., None] / 255 * 0.6 + 0.4  # paler, so that the colours stand out
    picture = strength * colours[owner] + (1 - strength) * grey
    picture[borders(owner)] = 1
    axis.imshow(picture)
    axis.set_title("what changed")
    label: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": INK, "weight": "bold"}
    label["bbox"] = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": INK, "linewidth": 0.8}
    line = {"arrowstyle": "-", "color": INK, "linewidth": 0.8}
    for number, (spot, place) in _number_places(owner).items():
        axis.annotate(str(number), spot, place, arrowprops=None if spot == place else line, **label)


def _number_places(owner: np.ndarray) -> dict[int, tuple[tuple[float, float], tuple[float, float]]]:
    """For each number in a map (H, W), the point (x, y) it refers to and the point to write it at.

    Both are the same if the region is wide enough; otherwise the number goes beside it, as far from other numbers as
    possible. Numbers without a pixel are omitted.
    """
    height, width = owner.shape
    margin = 0.03 * width
    spots: dict[int, tuple[float, float]] = {}
    wide = set()
    for number in np.unique(owner[owner > 0]).tolist():
        room = np.asarray(ndimage.distance_transform_edt(np.pad(owner == number, 1)))[1:-1, 1:-1]
        y, x = (int(i) for i in np.unravel_index(int(room.argmax()), room.shape))
        spots[number] = (x, y)
        if room[y, x] > margin:
            wide.add(number)
    places = {number: (spots[number], spots[number]) for number in wide}
    for number in spots.keys() - wide:
        left, top = spots[number]
        # do not cover other numbers or the points they refer to
        taken = [place for _, place in places.values()] + [spots[other] for other in spots if other != number]
        turns = np.arange(12) * np.pi / 6
        around = [(left + 0.055 * width * np.cos(turn), top + 0.055 * width * np.sin(turn)) for turn in turns]
        inside = [p for p in around if margin < p[0] < width - margin and margin < p[1] < height - margin]
        free = [min((float(np.hypot(p[0] - t[0], p[1] - t[1])) for t in taken), default=0.0) for p in inside]
        places[number] = (spots[number], inside[int(np.argmax(free))] if inside else spots[number])
    return places


def _list_changes(
    axis: Axes, off: Result, on: Result, changes: Sequence[SegmentChange], left_out: int, axes_inches: float
) -> None:
    """A line for each change: number, kind, the segment's names without and with TDEE, and the IoU of the two."""
    line = LINE_INCHES / axes_inches
    places = (0.12, 0.34, 0.66, 1.0)
    style: dict[str, Any] = {"transform": axis.transAxes, "va": "center", "fontsize": 8}
    for x, text in zip(places, ("change", "without", "with", "IoU"), strict=True):
        axis.text(x, 1 - line / 2, text, weight="bold", ha="right" if text == "IoU" else "left", **style)
    for number, change in enumerate(changes, start=1):
        y = 1 - (number + 0.5) * line
        colour = to_rgb(CHANGE_COLOURS[change.change])
        swatch = (0.0, y - 0.4 * line), 0.085, 0.8 * line
        axis.add_patch(Rectangle(*swatch, transform=axis.transAxes, color=colour, clip_on=False))
        on_swatch = np.asarray(text_colour(np.rint(np.array(colour) * 255).astype(np.uint8))) / 255
        axis.text(0.0425, y, str(number), ha="center", weight="bold", color=tuple(on_swatch), **style)
        both = change.before is not None and change.after is not None
        cells = (
            change.change,
            "–" if change.before is None else _short(off.names[change.before], 17),
            "–" if change.after is None else _short(on.names[change.after], 17),
            f"{change.iou:.2f}" if both else "–",
        )
        for x, text in zip(places, cells, strict=True):
            axis.text(x, y, text, ha="right" if x == 1 else "left", **style)
    if left_out:
        axis.text(places[0], 1 - (len(changes) + 1.5) * line, _smaller(left_out), style="italic", **style)


def _named_colours(result: Result) -> list[Named]:
    """Name and colour of each segment drawn, largest first; those beyond `NAMED_SEGMENTS` are only counted."""
    drawn = result.named
    colours = segment_colours(drawn) / 255
    order = sorted(range(len(drawn)), key=lambda i: -drawn[i].area)
    named = [(_short(result.names[i], LONGEST_NAME), to_rgb(colours[i])) for i in order[:NAMED_SEGMENTS]]
    if len(order) > NAMED_SEGMENTS:
        named.append((_smaller(len(order) - NAMED_SEGMENTS), (1.0, 1.0, 1.0)))
    return named


def _legend_columns(named: Sequence[Named]) -> int:
    longest = max((len(name) for name, _ in named), default=1)
    return max(1, int(PANEL_INCHES / (0.4 + 0.075 * longest)))


def _legend_lines(named: Sequence[Named]) -> int:
    return max(1, -(-len(named) // _legend_columns(named)))


def _list_names(axis: Axes, named: Sequence[Named]) -> None:
    handles = [Patch(facecolor=colour, label=name) for name, colour in named]
    axis.legend(
        handles=handles or [Patch(facecolor="white", label="no segment")], loc="upper center", fontsize=8,
        ncols=_legend_columns(named), borderaxespad=0, borderpad=0, handlelength=1, columnspacing=1.2, labelspacing=0.3,
    )  # fmt: skip


def _smaller(count: int) -> str:
    return f"and {count} smaller one{'s' if count > 1 else ''}"


def _short(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1].rstrip() + "…"
