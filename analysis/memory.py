"""`python -m analysis memory`: the CSV of `eovseg.benchmark.memory`, plotted over words and over megapixels."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from analysis.benchmark import machine_of, read_table, save
from analysis.style import CATEGORIES, MATPLOTLIB
from eovseg.errors import ConfigError

COMMAND = "python -m eovseg.benchmark.memory"
# CSV column -> label, in the order in which the parts run.
PARTS = {
    "image": "image half",
    "embedding": "text encoder",
    "words": "word half",
    "panoptic": "panoptic result",
    "instance": "instance result",
}
_MARKERS = "osD^v"
FLAT_MEGABYTES = 25  # points that should be equal differ by up to 16


@dataclass(frozen=True)
class Curve:
    """Peak memory of one part in MB above the loaded model, at each of `places` (words or megapixels)."""

    part: str
    places: tuple[float, ...]
    megabytes: tuple[float, ...]

    def description(self, unit: str) -> str | None:
        """One line that describes a curve over `unit`s by its ends and its peak or slope; None for a flat curve."""
        high = max(self.megabytes)
        if high - min(self.megabytes) <= FLAT_MEGABYTES:
            return None
        first, last = self.megabytes[0], self.megabytes[-1]
        ends = f"{first:,.0f} MB at {_number(self.places[0])}", f"{last:,.0f} MB at {_number(self.places[-1])} {unit}s"
        if high > max(first, last):
            peak = f"peak {high:,.0f} MB at {_number(self.places[self.megabytes.index(high)])}"
            return f"{PARTS[self.part]}: {ends[0]}; {peak}; {ends[1]}."
        slope = (last - first) / (self.places[-1] - self.places[0])
        each = f"{_number(slope)} MB" if abs(slope) >= 1 else f"{_number(1000 * slope)} kB"
        return f"{PARTS[self.part]}: {ends[0]}, {ends[1]}; {each} per {unit}."


def read_curves(path: Path) -> tuple[list[Curve], list[Curve], str]:
    """Curves over words at the first photo size, curves over megapixels at one vocabulary size, and the machine.

    Raises `ConfigError` if the CSV cannot be read or has fewer than two points for either.
    """
    columns = ("width", "height", "words", "hardware", "threads", *(f"{part} (MB)" for part in PARTS))
    rows = read_table(path, columns, COMMAND)
    if not rows:
        raise ConfigError(f"{path} has no row; `{COMMAND} --out {path}` adds some.")
    try:
        points = [(int(row["width"]), int(row["height"]), int(row["words"])) for row in rows]
        first = points[0][:2]
        fixed = Counter(count for *_, count in set(points)).most_common(1)[0][
            0
        ]  # the vocabulary size of the other curves
        words = _curves([(n, row) for (*size, n), row in zip(points, rows, strict=True) if tuple(size) == first])
        pixels = _curves([(w * h / 1e6, row) for (w, h, n), row in zip(points, rows, strict=True) if n == fixed])
    except (TypeError, ValueError) as error:  # a truncated line, or text in place of a number
        raise ConfigError(f"{path} cannot be drawn ({error}); `{COMMAND}` writes a new one.") from error
    if min(len(words[0].places), len(pixels[0].places)) < 2:
        raise ConfigError(f"{path} has fewer than two points for a curve; `{COMMAND} --out {path}` measures more.")
    return words, pixels, machine_of(rows[0])


def _curves(points: Iterable[tuple[float, dict[str, str]]]) -> list[Curve]:
    chosen = sorted(dict(points).items())
    places = tuple(float(place) for place, _ in chosen)
    return [Curve(part, places, tuple(float(row[f"{part} (MB)"]) for _, row in chosen)) for part in PARTS]


def memory_figure(words: Sequence[Curve], pixels: Sequence[Curve], machine: str) -> Figure:
    """Two panels with a line per part, and below them a description of the lines that are not flat."""
    panels = ((words, "words (log scale)", "word"), (pixels, "megapixels of the photo (log scale)", "megapixel"))
    notes = []
    with matplotlib.rc_context(MATPLOTLIB):
        figure = Figure(figsize=(9.4, 4), layout="constrained")
        grid: Any = figure.subplots(1, 2)
        for axes, (curves, label, unit) in zip(grid, panels, strict=True):
            for curve, colour, marker in zip(curves, CATEGORIES, _MARKERS, strict=False):
                name = PARTS[curve.part]
                axes.plot(curve.places, curve.megabytes, color=colour, marker=marker, markersize=4, label=name)
            axes.set_xscale("log")
            axes.set_xticks(curves[0].places, [_number(place) for place in curves[0].places], fontsize=8)
            axes.set_xticks([], minor=True)
            axes.set_ylim(0, None)
            axes.set(xlabel=label, ylabel="peak memory above the loaded model (MB)")
            readings = [description for curve in curves if (description := curve.description(unit))]
            if len(readings) < len(curves):
                readings.append(f"{'the others' if readings else 'every part'}: flat within {FLAT_MEGABYTES} MB.")
            notes += [f"Over {unit}s, {description}" for description in readings]
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        notes.append(f"XS, each point measured in its own process, on {machine}. A photo takes 3 MB per megapixel.")
        text = "\n".join(line for note in notes for line in textwrap.wrap(note, 145))
        figure.set_figheight(4 + 0.17 * text.count("\n"))
        figure.supxlabel(text, fontsize=8, ha="left", x=0.01)
    return figure


def _number(value: float) -> str:
    """Two significant digits below 100, thousands separators above."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def draw_memory(path: Path, out: Path) -> Path:
    """Draws a CSV to `out`, whose suffix sets the format."""
    return save(memory_figure(*read_curves(path)), out)
