"""`python -m analysis benchmark`: the CSV of `eovseg benchmark` as one figure, plain and fast side by side.

There is one panel per variant and machine, and in it one group of rows per photo size and number of words. Cases that
were not measured are not drawn; a note below the figure lists them.
"""

import csv
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from analysis.style import CATEGORIES, INK, MATPLOTLIB, PAPER
from eovseg.errors import ConfigError

PARTS = {"image": "ours: image half", "words": "ours: word half", "result": "ours: composition"}
PROBLEMS = ("not run", "failed")
Row = Mapping[str, str]
_VARIANTS = ("xs", "s", "m", "l")
_ROW_INCHES = 0.24
_PANEL_INCHES = 5.2
_MANY_ROWS = 8  # with more rows than this, the panels are arranged in two columns


def read_table(path: Path, columns: Sequence[str], command: str) -> list[dict[str, str]]:
    """The rows of a CSV that `command` writes; raises `ConfigError` if it cannot be read or lacks `columns`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise ConfigError(f"{path} cannot be read ({reason}); `{command}` writes it.") from error
    missing = [name for name in columns if rows and name not in rows[0]]
    if missing:
        raise ConfigError(f"{path} lacks the column {missing[0]!r}; give a CSV that `{command}` wrote.")
    return rows


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows of a benchmark's CSV; raises `ConfigError` if none was measured."""
    columns = ["variant", "backend", "dtype", "words", "side", "hardware", "threads", "ratio whole", "plain whole (s)"]
    columns += [f"fast {part} (s)" for part in (*PARTS, "whole")]
    rows = read_table(path, columns, f"eovseg benchmark --out {path}")
    if not any(row["fast whole (s)"] for row in rows):
        raise ConfigError(f"{path} has no measured row; `eovseg benchmark --out {path}` adds some.")
    return rows


def speed_figure(rows: Sequence[Row]) -> Figure:
    """Two bars per row: seconds of the plain implementation (grey) and of ours, split by part, and then their ratio.

    A line across our bar marks the time that the matrix products of the image half alone would take.
    """
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(filter(_measured, rows), key=_order):
        panels.setdefault((row["variant"], machine_of(row)), []).append(row)
    columns = 2 if sum(map(len, panels.values())) > _MANY_ROWS and len(panels) > 1 else 1
    machines = {machine for _, machine in panels}
    notes = [f"Measured on {', '.join(machines)}." if len(machines) == 1 else "", *not_measured(rows)]
    text = "\n".join(line for note in notes for line in textwrap.wrap(note, int(columns * _PANEL_INCHES * 15)))
    heights = _heights(list(panels.values()), columns)
    with matplotlib.rc_context(MATPLOTLIB):
        size = columns * _PANEL_INCHES + 1.2, sum(heights) + 0.17 * text.count("\n") + 0.9
        figure = Figure(figsize=size, layout="constrained")
        grid: Any = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
        for axes, ((variant, machine), chosen) in zip(grid.ravel(), panels.items(), strict=False):
            _panel(axes, chosen)
            title = variant.upper() + (f" on {machine}" if len(machines) > 1 else "")
            axes.set_title(textwrap.fill(title, int(_PANEL_INCHES * 8)), loc="left", weight="bold")
        for place, axes in enumerate(grid.ravel()):
            if place >= len(panels):
                axes.set_axis_off()
            elif place + columns >= len(panels):  # the last of its column
                axes.set_xlabel("seconds per photo, median (label: speed-up over plain)")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3)
        figure.supxlabel(text, fontsize=8, ha="left", x=0.01)
    return figure


def _heights(panels: Sequence[Sequence[Row]], columns: int) -> list[float]:
    """Height of each row of panels in inches, that of its fullest panel."""
    inches = [_ROW_INCHES * (len(rows) + len({_group(row) for row in rows})) + 0.75 for rows in panels]
    return [max(inches[start : start + columns]) for start in range(0, len(inches), columns)]


def _panel(axes: Any, rows: Sequence[Row]) -> None:
    """The bars of one variant, with a line of text above every group of rows."""
    place, names, group = 0.0, {}, ""
    for row in rows:
        if _group(row) != group:
            group = _group(row)
            axes.annotate(group, (0, place + 0.2), (3, 0), textcoords="offset points", va="center", fontsize=8)
            place += 1
        names[place] = _engine(row)
        first = len(names) == 1
        whole = float(row["plain whole (s)"])
        axes.barh(place - 0.2, whole, 0.36, color=PAPER, label="plain implementation" if first else None)
        start = 0.0
        for (part, name), colour in zip(PARTS.items(), CATEGORIES, strict=False):
            seconds = float(row[f"fast {part} (s)"])
            axes.barh(place + 0.2, seconds, 0.36, left=start, color=colour, label=name if first else None)
            start += seconds
        if row.get("image floor (s)"):
            floor, label = float(row["image floor (s)"]), "matrix products of the image half at this machine's rate"
            axes.vlines(floor, place + 0.02, place + 0.38, color=INK, linewidth=1.6, label=label if first else None)
        ratio = f"{float(row['ratio whole']):.1f}×"
        axes.annotate(ratio, (max(whole, start), place), (4, 0), textcoords="offset points", va="center", color=INK)
        place += 1
    axes.set_yticks(list(names), names.values())
    axes.set_ylim(place - 0.4, -0.6)
    axes.margins(x=0.1)


def not_measured(rows: Sequence[Row]) -> list[str]:
    """One sentence per reason why rows were not run or failed, listing those rows."""
    reasons: dict[str, list[Row]] = {}
    for row in sorted(rows, key=_order):
        for problem in PROBLEMS:
            if row.get(problem):
                reasons.setdefault(f"{problem.capitalize()}, {row[problem]}", []).append(row)
    found = []
    for reason, chosen in reasons.items():
        names = (lambda row: row["variant"].upper(), _engine, _words, _size)
        kinds = "; ".join(", ".join(dict.fromkeys(name(row) for row in chosen)) for name in names)
        found.append(f"{reason}: {len(chosen)} case{'s'[: len(chosen) != 1]} of {kinds}.")
    return found


def _measured(row: Row) -> bool:
    return bool(row["fast whole (s)"])


def _order(row: Row) -> tuple[Any, ...]:
    """Sort key: variants from small to large, then machines, photo sizes and words; torch before other backends."""
    variant = _VARIANTS.index(row["variant"]) if row["variant"] in _VARIANTS else len(_VARIANTS)
    backend = (row["backend"] != "torch", row["backend"])
    return variant, row["variant"], machine_of(row), int(row["side"]), int(row["words"]), backend, row["dtype"]


def machine_of(row: Row) -> str:
    """Hardware and number of threads of a row."""
    return f"{row['hardware']}, {row['threads']} thread{'s'[: row['threads'] != '1']}"


def _engine(row: Row) -> str:
    device = row.get("device", "cpu")
    return " ".join((row["backend"], row["dtype"], *([device] if device not in ("", "cpu") else [])))


def _words(row: Row) -> str:
    return f"{int(row['words']):,} word{'s'[: row['words'] != '1']}"


def _size(row: Row) -> str:
    return f"{int(row['side']) * 4 // 3}×{row['side']}"


def _group(row: Row) -> str:
    return f"{_words(row)}, {_size(row)}"


def draw_benchmark(path: Path, out: Path) -> Path:
    """Draws a CSV to `out`, whose suffix sets the format; raises `ConfigError` if that fails."""
    try:
        figure = speed_figure(read_rows(path))
    except (TypeError, ValueError) as error:  # a truncated line, or text in place of a number
        raise ConfigError(f"{path} cannot be drawn ({error}); `eovseg benchmark --out {path}` writes it.") from error
    return save(figure, out)


def save(figure: Figure, out: Path) -> Path:
    """Writes a figure to `out`, whose suffix sets the format; raises `ConfigError` if that fails."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--out {out} cannot be written ({error}); give a .png, .svg or .pdf file.") from error
    return out
