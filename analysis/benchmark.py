"""`python -m analysis benchmark`: the CSV of `eovseg benchmark` as one figure, plain and fast side by side."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from analysis.style import CATEGORIES, MATPLOTLIB, PAPER
from eovseg.errors import ConfigError

PARTS = ("image", "words", "result")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The measured rows of a benchmark's CSV; raises `ConfigError` where there is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("fast whole (s)")]
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); `eovseg benchmark --out` writes it.") from error
    if not rows:
        raise ConfigError(f"{path} has no measured row; `eovseg benchmark --out {path}` adds some.")
    return rows


def speed_figure(rows: Sequence[Mapping[str, str]]) -> Figure:
    """A pair of bars a row: seconds of the plain implementation (grey) and of ours by part, the ratio behind it."""
    with matplotlib.rc_context(MATPLOTLIB):
        figure = Figure(figsize=(7.2, 0.55 * len(rows) + 1.2), layout="constrained")
        axes: Any = figure.subplots()
        for place, row in enumerate(rows):
            whole = float(row["plain whole (s)"])
            axes.barh(place - 0.19, whole, 0.34, color=PAPER, label=None if place else "plain implementation")
            start = 0.0
            for part, colour in zip(PARTS, CATEGORIES, strict=False):
                seconds = float(row[f"fast {part} (s)"])
                label = None if place else {"image": "ours: image half", "words": "words", "result": "result"}[part]
                axes.barh(place + 0.19, seconds, 0.34, left=start, color=colour, label=label)
                start += seconds
            axes.annotate(
                f"{float(row['ratio whole']):.1f}×", (max(whole, start), place), (4, 0), textcoords="offset points",
                va="center",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [_name(row) for row in rows])
        axes.invert_yaxis()
        axes.margins(x=0.08)
        axes.set_xlabel("seconds for one photo (median)")
        axes.legend(loc="lower right")
        machines = sorted({f"{row['hardware']}, {row['threads']} threads" for row in rows})
        axes.set_title("Measured on " + "; ".join(machines), fontsize=8, loc="left")
    return figure


def _name(row: Mapping[str, str]) -> str:
    height = int(row["side"])
    return f"{row['variant'].upper()} {row['backend']} {row['dtype']}\n{row['words']} words, {height * 4 // 3}×{height}"


def draw_benchmark(path: Path, out: Path) -> Path:
    """The figure of a CSV, in the format of `out`'s suffix."""
    figure = speed_figure(read_rows(path))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out
