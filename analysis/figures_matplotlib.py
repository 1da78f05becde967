"""Figures for paper and notebooks: every function takes arrays or results and returns a matplotlib `Figure`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from analysis.clustering import resize_labels
from analysis.parts import PartTimes
from analysis.picture_grid import (
    GAP_INCHES,
    LINE_INCHES,
    cell_width,
    foot_text,
    head_text,
    pad_lines,
    picture_grid,
    text_height,
    wrapped,
)
from analysis.similarity import SimilarityMaps
from analysis.style import (
    CATEGORIES,
    MATPLOTLIB,
    OURS,
    PAPER,
    SIMILARITY_MAP,
    WEIGHT_MAP,
    cluster_rgb,
)
from eovseg.colours import text_colour


def similarity_figure(image: np.ndarray, maps: SimilarityMaps, scores: Sequence[tuple[float, float]] = ()) -> Figure:
    """Fig. 5: a row per word with the photo, both maps on one colour scale, and the map after VAS on its own scale.

    `scores`: concentration before and after VAS for each word, written below the maps (NaN is omitted).
    """
    titles = pad_lines(["photo", "before VAS\nsame scale", "after VAS\nsame scale", "after VAS\nown scale"])
    low, high = maps.limits
    left, head = 0.3, text_height(titles) + 0.04
    heads = [head] + [0.0] * (len(maps.words) - 1)
    figure, axes = picture_grid([image.shape] * len(maps.words), 4, heads, left=left, under=LINE_INCHES, foot=1.1)
    for axis, title in zip(axes[0], titles, strict=True):
        head_text(axis, title, head)
    for row, word in enumerate(maps.words):
        axes[row, 0].imshow(image)
        axes[row, 0].set_ylabel(f"“{word}”", fontsize=10)
        for column, values in enumerate((maps.before[row], maps.after[row]), start=1):
            drawn = axes[row, column].imshow(values, cmap=SIMILARITY_MAP, vmin=low, vmax=high)
            if scores and not np.isnan(scores[row][column - 1]):
                axes[row, column].set_xlabel(f"{scores[row][column - 1]:.1%} on its segments", labelpad=2)
        axes[row, 3].imshow(maps.after[row], cmap=SIMILARITY_MAP)
        ends = f"{maps.after[row].min():.2f} to {maps.after[row].max():.2f}".replace("-", "−")
        axes[row, 3].set_xlabel(f"scale {ends}", labelpad=2)
    _colour_bar(figure, drawn, axes[-1, 1], axes[-1, 2], 0.83, f"same scale: {maps.measure} of word and pixel")
    lines = [
        "VAS multiplies each pixel's features by a weight, here {:.2f} to {:.2f}; a weight of 1 would change nothing."
    ]
    if not np.isnan(np.array(scores)).all():
        lines.append("%: share of the map's positive part that lies on the segments with that word.")
    foot_text(figure, "\n".join(lines).format(*maps.weight_limits), left)
    return figure


def weight_figure(image: np.ndarray, weights: Mapping[str, np.ndarray]) -> Figure:
    """A photo (H, W, 3) and the VAS weights of its pixels, (h, w) for each title, on one colour scale with a bar."""
    low, high = min(map(np.min, weights.values())), max(map(np.max, weights.values()))
    width = cell_width(1 + len(weights))
    titles = pad_lines(["photo", *(wrapped(title, width) for title in weights)])
    head = text_height(titles) + 0.05
    figure, axes = picture_grid([image.shape], 1 + len(weights), [head], foot=0.6)
    for axis, title in zip(axes[0], titles, strict=True):
        head_text(axis, title, head)
    axes[0, 0].imshow(image)
    for axis, values in zip(axes[0, 1:], weights.values(), strict=True):
        drawn = axis.imshow(values, cmap=WEIGHT_MAP, vmin=low, vmax=high)
    maps = "same scale for all maps: " if len(weights) > 1 else ""
    label = f"{maps}weight of a pixel, {low:.2f} to {high:.2f}"
    _colour_bar(figure, drawn, axes[0, 1], axes[0, -1], 0.44, label)
    return figure


def _colour_bar(figure: Figure, drawn: AxesImage, first: Axes, last: Axes, height: float, label: str) -> None:
    """A horizontal colour bar from axis `first` to `last`, `height` inches above the lower edge of the figure."""
    start, end, inches = first.get_position().x0, last.get_position().x1, figure.get_figheight()
    bar = figure.add_axes((start, height / inches, end - start, 0.12 / inches))
    figure.colorbar(drawn, cax=bar, orientation="horizontal")
    bar.set_xlabel(label, labelpad=2, fontsize=9)
    bar.tick_params(labelsize=8)


def clustering_figure(
    images: Sequence[np.ndarray],
    columns: Mapping[str, Sequence[np.ndarray]],
    notes: Mapping[str, str] | None = None,
    caption: str = "",
    rows: Sequence[str] = (),
) -> Figure:
    """Fig. 3 and 9: a row per photo, a column per layer; `columns`: title -> label maps (h, w) or RGB (h, w, 3).

    `notes` are lines below a title (a score, a time), `caption` explains them below the figure, `rows` names the
    photos. Columns that do not fit the page width continue below, with the photos repeated unless there is
    only one.
    """
    bands = _bands(list(columns))
    left = 0.25 if rows else 0.0
    width = cell_width(1 + len(bands[0]), left)
    texts = {title: wrapped("\n".join(filter(None, (title, (notes or {}).get(title)))), width) for title in columns}
    heads = [text_height(["photo", *(texts[title] for title in band)]) + 0.05 for band in bands]
    below = wrapped(caption, left + (width + GAP_INCHES) * (1 + len(bands[0])))
    foot = text_height([below]) + 0.08 if caption else 0.0
    above = [head if row == 0 else 0.0 for head in heads for row in range(len(images))]
    shapes = [image.shape for image in images] * len(bands)
    figure, axes = picture_grid(shapes, 1 + len(bands[0]), above, left=left, foot=foot)
    for place, axis_row in enumerate(axes):
        band, row = bands[place // len(images)], place % len(images)
        first = [] if band is not bands[0] and len(images) == 1 else ["photo"]
        titles = pad_lines([*first, *(texts[title] for title in band)])
        pictures = [images[row]] * len(first)
        pictures += [_cluster_picture(columns[title][row], images[row].shape) for title in band]
        for axis, title, picture in zip(axis_row, titles, pictures, strict=False):
            axis.imshow(picture, extent=(0, images[row].shape[1], images[row].shape[0], 0))
            if row == 0:
                head_text(axis, title, above[place])
        for axis in axis_row[len(pictures) :]:
            axis.remove()
        if rows:
            axis_row[0].set_ylabel(rows[row])
    foot_text(figure, below, left)
    return figure


def _bands(titles: Sequence[str]) -> list[list[str]]:
    """Titles in groups that fit the page beside the photo: of 5, 4 or 3 if that leaves no remainder, else of 5."""
    count = max(1, len(titles))
    size = next((size for size in (5, 4, 3) if count % size == 0), 5) if count > 5 else count
    return [list(titles[start : start + size]) for start in range(0, count, size)]


def _cluster_picture(picture: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A label map (h, w) as colours at the photo's size; RGB is returned unchanged."""
    return cluster_rgb(resize_labels(picture, (shape[0], shape[1]))) if picture.ndim == 2 else picture


def curve_figure(records: Sequence[Mapping[str, float]], names: Mapping[str, str]) -> Figure:
    """Training curves over `step`; `names`: key of the log records -> label. A single record is drawn as a dot."""
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axis = figure.subplots()
        for (entry, name), colour in zip(names.items(), CATEGORIES, strict=False):
            points = [(record["step"], record[entry]) for record in records if entry in record]
            if points:  # a line through one point is invisible
                marker = "o" if len(points) == 1 else ""
                axis.plot(*zip(*points, strict=True), color=colour, marker=marker, label=name)
        axis.set(xlabel="step", ylabel="weighted loss")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if axis.lines:
            axis.legend()
        else:
            axis.annotate("nothing recorded yet", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return figure


def comparison_figure(names: Sequence[str], ours: Sequence[float], paper: Sequence[float], label: str) -> Figure:
    """Bars of values measured here beside those of the paper, labelled as such; NaN omits a bar."""
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axis = figure.subplots()
        places = np.arange(len(names))
        for offset, values, colour, name in ((-0.2, ours, OURS, "here"), (0.2, paper, PAPER, "the paper's")):
            bars = axis.bar(places + offset, np.nan_to_num(np.asarray(values, float)), 0.38, color=colour, label=name)
            axis.bar_label(bars, ["" if np.isnan(v) else f"{v:.3g}" for v in values])
        axis.set_xticks(places, names)
        axis.set_ylabel(label)
        axis.legend()
        return figure


def parts_figure(times: Mapping[str, PartTimes]) -> Figure:
    """One bar per model: seconds per photo, split by part, with the shares of the large parts."""
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(8, 0.45 * len(times) + 1.5), layout="constrained")
        axis = figure.subplots()
        colours: dict[str, str] = {}
        longest = max(model.total for model in times.values())
        for place, model in enumerate(times.values()):
            start = 0.0
            for name, milliseconds in model.by_name.items():
                label = None if name in colours else name
                colour = colours.setdefault(name, CATEGORIES[len(colours) % len(CATEGORIES)])
                axis.barh(place, milliseconds / 1000, 0.7, left=start / 1000, color=colour, label=label)
                if milliseconds > 0.06 * longest:
                    ink = np.array(text_colour(np.array(list(bytes.fromhex(colour[1:]))))) / 255
                    axis.annotate(
                        f"{milliseconds / model.total:.0%}", ((start + milliseconds / 2) / 1000, place),
                        ha="center", va="center", color=ink, fontsize=8,
                    )  # fmt: skip
                start += milliseconds
            end = start / 1000, place
            axis.annotate(f"{end[0]:.2g} s", end, (4, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(len(times)), list(times))
        axis.invert_yaxis()
        axis.margins(x=0.08)
        axis.set_xlabel("seconds per photo, measured here")
        figure.legend(loc="outside lower center", ncols=4)
        return figure


def table_figure(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Figure:
    """A plain table as a figure: the first column left-aligned, the others right-aligned, each as wide as its text."""
    lengths = [max(len(str(cell)) for cell in column) + 2 for column in zip(columns, *rows, strict=True)]
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(0.085 * sum(lengths) + 0.3, 0.27 * (len(rows) + 1) + 0.35), layout="constrained")
        axis = figure.subplots()
        axis.set_axis_off()
        table = axis.table(
            [list(row) for row in rows],
            colLabels=list(columns),
            colWidths=[length / sum(lengths) for length in lengths],
            cellLoc="right",
            bbox=Bbox.unit(),
            edges="horizontal",
        )
        table.auto_set_font_size(False)
        for (row, column), cell in table.get_celld().items():
            cell.set_edgecolor(PAPER)
            cell.PAD = 0.7 / lengths[column]  # relative to the cell width, so that all columns have the same margin
            cell.set_text_props(ha="left" if column == 0 else "right", weight="bold" if row == 0 else "normal")
        if title:
            axis.set_title(title)
        return figure


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Writes a figure as `stem`.pdf, .png or .svg, one file per format; returns the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.parent / f"{stem.name}.{kind}" for kind in formats]
    with rc_context(MATPLOTLIB):
        for path in paths:
            figure.savefig(path, bbox_inches="tight")
    return paths
