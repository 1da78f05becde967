"""Figures for paper and notebooks: every function takes arrays or results and returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import Bbox

from analysis.ablation import RouterRow, SegmentChange
from analysis.clustering import resize_labels
from analysis.layers import QueryPath, mask_agreement
from analysis.similarity import SimilarityMaps
from analysis.style import (
    CATEGORIES,
    CELL_INCHES,
    CHANGE_COLOURS,
    CHANGE_LINES,
    INK,
    MATPLOTLIB,
    OURS,
    PAPER,
    SIMILARITY_MAP,
    cluster_rgb,
)
from eovseg.result import Result


def similarity_figure(image: np.ndarray, maps: SimilarityMaps, scores: Sequence[tuple[float, float]] = ()) -> Figure:
    """Fig. 5: a row per word with the photo and the maps before and after VAS, all on one colour scale.

    `scores`: concentration before and after for each word, written under the maps (NaN is left out).
    """
    low, high = maps.limits
    figure, axes = _grid(len(maps.words), 3, image.shape, extra=1.9)
    for row, word in enumerate(maps.words):
        axes[row, 0].imshow(image)
        axes[row, 0].set_ylabel(f"“{word}”", fontsize=10)
        for column, (name, values) in enumerate((("before VAS", maps.before), ("after VAS", maps.after)), start=1):
            drawn = axes[row, column].imshow(values[row], cmap=SIMILARITY_MAP, vmin=low, vmax=high)
            if row == 0:
                axes[row, column].set_title(name)
            if scores and not np.isnan(scores[row][column - 1]):
                axes[row, column].set_xlabel(f"{scores[row][column - 1]:.0%} inside the word's segments")
    axes[0, 0].set_title("photo")
    bar = figure.colorbar(drawn, ax=axes[:, 1:].ravel().tolist(), shrink=0.8, pad=0.02)
    bar.set_label(f"{maps.measure} in VAS's space")
    return figure


def ablation_figure(
    off: Result,
    on: Result,
    changes: Sequence[SegmentChange],
    titles: tuple[str, str] = ("TDEE switched off", "TDEE on"),
) -> Figure:
    """Fig. 6: the result without and with TDEE side by side, changed segments boxed by kind of change."""
    figure, axes = _grid(1, 2, off.image.shape, scale=1.6)
    figure.set_figheight(figure.get_figheight() + 0.5)  # for the legend below
    for axis, result, title in zip(axes[0], (off, on), titles, strict=True):
        axis.imshow(np.asarray(result.overlay()))
        axis.set_title(title)
    seen = []
    for change in changes:
        if change.change == "same":
            continue
        seen.append(change.change)
        for axis, result, place in zip(axes[0], (off, on), (change.before, change.after), strict=True):
            if place is not None:
                x0, y0, x1, y1 = result.segments[place].box
                style: dict[str, Any] = {
                    "edgecolor": CHANGE_COLOURS[change.change], "linestyle": CHANGE_LINES[change.change],
                }  # fmt: skip
                axis.add_patch(Rectangle((x0, y0), x1 - x0 - 1, y1 - y0 - 1, fill=False, linewidth=1.8, **style))
    kinds = [
        Patch(fill=False, edgecolor=CHANGE_COLOURS[k], linestyle=CHANGE_LINES[k], linewidth=2, label=k)
        for k in CHANGE_COLOURS
        if k in seen
    ]
    if kinds:
        figure.legend(handles=kinds, loc="outside lower center", ncols=len(kinds), title="changed segments")
    else:
        figure.supxlabel("no segment changed", fontsize=9)
    return figure


def clustering_figure(
    images: Sequence[np.ndarray],
    columns: Mapping[str, Sequence[np.ndarray]],
    notes: Mapping[str, str] | None = None,
    caption: str = "",
) -> Figure:
    """Fig. 3 and 9: a row per photo, a column per layer; `columns`: title -> label maps (h, w) or RGB (h, w, 3).

    `notes` are lines under a title (a score, a time), `caption` says below what they mean.
    """
    figure, axes = _grid(len(images), 1 + len(columns), images[0].shape)
    for row, image in enumerate(images):
        axes[row, 0].imshow(image)
        for column, (title, pictures) in enumerate(columns.items(), start=1):
            picture = pictures[row]
            if picture.ndim == 2:
                picture = cluster_rgb(resize_labels(picture, (image.shape[0], image.shape[1])))
            axes[row, column].imshow(picture, extent=(0, image.shape[1], image.shape[0], 0))
            if row == 0:
                note = (notes or {}).get(title)
                axes[row, column].set_title(f"{title}\n{note}" if note else title)
    axes[0, 0].set_title("photo")
    if caption:
        figure.supxlabel(caption, fontsize=8)
    return figure


def panoptic_figure(results: Sequence[Result], columns: int = 2) -> Figure:
    """Fig. 10 and 11: photos above their panoptic results, `columns` pairs a row."""
    columns = min(columns, len(results))
    rows = -(-len(results) // columns)
    figure, axes = _grid(2 * rows, columns, results[0].image.shape, scale=1.4)
    for axis in axes.ravel():
        axis.set_axis_off()
    for place, result in enumerate(results):
        row, column = 2 * (place // columns), place % columns
        axes[row, column].imshow(result.image)
        axes[row, column].set_title(result.name)
        axes[row, column].set_anchor("S")  # a pair of another shape than the first stays together
        axes[row + 1, column].imshow(np.asarray(result.overlay()))
        axes[row + 1, column].set_anchor("N")
    return figure


def layers_figure(image: np.ndarray, path: QueryPath) -> Figure:
    """The mask of one kernel at init and after each layer, with its best words and its IoU with the final mask."""
    count = len(path.masks)
    figure, axes = _grid(1, count, image.shape, scale=1.1, extra=1.4)
    for stage, (axis, iou) in enumerate(zip(axes[0], mask_agreement(path), strict=True)):
        axis.imshow(image, alpha=0.35)
        drawn = axis.imshow(path.masks[stage], cmap=SIMILARITY_MAP, vmin=0, vmax=1, alpha=0.8)
        axis.set_title(f"learned kernel {path.query}" if stage == 0 else f"layer {stage}")
        words = "no words yet"
        if stage:
            words = "\n".join(f"{entry.label} {entry.probability:.0%}" for entry in path.classes[stage - 1])
        axis.set_xlabel(f"{words}\nIoU with final {iou:.2f}")
    bar = figure.colorbar(drawn, ax=axes.ravel().tolist(), shrink=0.7, pad=0.01)
    bar.set_label("mask probability")
    return figure


def router_figure(rows: Sequence[RouterRow]) -> Figure:
    """TDEE's routers: for each decoder layer the share of channels in which the spatial weight is the larger one."""
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axis = figure.subplots()
        layers = sorted({row.layer for row in rows})
        jitter = np.random.default_rng(0)
        for offset, marker, is_thing, colour in ((-0.12, "o", True, CATEGORIES[0]), (0.12, "^", False, CATEGORIES[1])):
            chosen = [row for row in rows if row.is_thing == is_thing]
            x = [row.layer + offset + 0.06 * jitter.uniform(-1, 1) for row in chosen]
            name = "things" if is_thing else "stuff"
            axis.scatter(
                x, [row.spatial_share for row in chosen], s=18, marker=marker, color=colour, alpha=0.75,
                label=f"{name} ({len({(row.photo, row.segment) for row in chosen})} segments)",
            )  # fmt: skip
        axis.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
        axis.set(xticks=layers, xlabel="decoder layer", ylabel="channels with spatial > mask", ylim=(0, 1))
        axis.legend(loc="lower right", ncols=2)
        return figure


def curve_figure(records: Sequence[Mapping[str, float]], names: Sequence[str]) -> Figure:
    """Training curves: the named entries of log records over their `step`."""
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axis = figure.subplots()
        for name, colour in zip(names, CATEGORIES, strict=False):
            points = [(record["step"], record[name]) for record in records if name in record]
            axis.plot(*zip(*points, strict=True), color=colour, label=name.replace("_", " "))
        axis.set(xlabel="step", ylabel="weighted loss")
        axis.legend()
        return figure


def comparison_figure(names: Sequence[str], ours: Sequence[float], paper: Sequence[float], label: str) -> Figure:
    """Bars of what was measured here beside the paper's column, labelled as such; NaN leaves a bar out."""
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


def table_figure(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Figure:
    """A plain table as a figure; the first column is aligned left, the others right, each as wide as its text."""
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
            cell.set_text_props(ha="left" if column == 0 else "right", weight="bold" if row == 0 else "normal")
        if title:
            axis.set_title(title)
        return figure


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write a figure as `stem`.pdf (vector), .png, .svg as asked for; returns the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.parent / f"{stem.name}.{kind}" for kind in formats]
    with rc_context(MATPLOTLIB):
        for path in paths:
            figure.savefig(path, bbox_inches="tight")
    return paths


def _grid(
    rows: int, columns: int, shape: Sequence[int], scale: float = 1.0, extra: float = 0.5
) -> tuple[Figure, np.ndarray]:
    """A figure with (rows, columns) axes without ticks, each as wide and high as photos of `shape` need.

    `extra`: inches beside them, for a colour bar.
    """
    width = CELL_INCHES * scale
    height = width * shape[0] / shape[1]
    with rc_context(MATPLOTLIB):
        figure = Figure(figsize=(columns * width + extra, rows * (height + 0.25) + 0.4), layout="constrained")
        axes: np.ndarray = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.ravel():
        _bare(axis)
    return figure, axes


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
