"""HTML fragments that the tabs share. All arguments are plain text and are escaped here."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from analysis.pictures import colour_table
from app.pictures import data_address

SIDE = 1024  # maximum side of a picture in a tab, pixels


@dataclass(frozen=True)
class Bar:
    """A row of `bars`: `share` (0..1) is the length, `value` the text beside it, and `note` a second line."""

    name: str
    share: float
    value: str
    note: str = ""
    colour: str = ""


def percent(share: float) -> str:
    """A share (0..1) as text in percent; a dash for NaN."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if 0.0005 <= abs(share) < 0.0995 else f"{100 * share:.0f} %"


def plain_number(value: float) -> str:
    """A number without a unit, with two decimals; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:.2f}"


def two_digits(value: float) -> str:
    """A number with at most two digits that are not zeros: 0.037, 1.5, 12, 120."""
    return f"{float(f'{value:.2g}'):g}"


def milliseconds(value: float) -> str:
    """A time in milliseconds as text with its unit, rounded."""
    if 0 < value < 0.05:
        return "< 0.1 ms"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def lead(text: str) -> str:
    """The introduction of a tab."""
    return f'<p class="lead">{html.escape(text)}</p>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is a class of app/tabs/tabs.css ("quiet", "missing")."""
    return f'<p class="{kind}">{html.escape(text)}</p>'


def heading(text: str) -> str:
    """The heading of a part of a tab."""
    return f"<h3>{html.escape(text)}</h3>"


def bars(rows: Sequence[Bar], label: str) -> str:
    """A bar chart as a list for screen readers; `label` says what it shows and in which unit."""
    items = []
    for row in rows:
        share = 0.0 if math.isnan(row.share) else min(max(row.share, 0.0), 1.0)
        colour = f"; --bar: {html.escape(row.colour)}" if row.colour else ""
        note = f"<small>{html.escape(row.note)}</small>" if row.note else ""
        items.append(
            f'<li style="--share: {share:.4f}{colour}"><span class="name" title="{html.escape(row.name)}">'
            f'{html.escape(row.name)}</span><span class="track" aria-hidden="true"><i></i></span>'
            f"<b>{html.escape(row.value)}</b>{note}</li>"
        )
    return f'<ul class="bars" aria-label="{html.escape(label)}">{"".join(items)}</ul>'


def picture(source: str, alt: str, caption: str = "", kind: str = "") -> str:
    """A picture with alternative text and an optional caption below it."""
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}"><img src="{source}" alt="{html.escape(alt)}">{below}</figure>'


def colour_scale(limits: tuple[float, float], unit: str, colour_map: str) -> str:
    """A colour bar with its limits and its unit."""
    low, high = (f"{value:.2f}" for value in limits)
    return (
        f'<div class="scale"><span>{low}</span><i style="background: {gradient(colour_map)}" aria-hidden="true"></i>'
        f"<span>{high}</span><em>{html.escape(unit)}</em></div>"
    )


def gradient(colour_map: str) -> str:
    """A colour map as a CSS gradient from left to right."""
    colours = ", ".join("#" + bytes(colour).hex() for colour in colour_table(colour_map)[::17])
    return f"linear-gradient(90deg, {colours})"


def photo_address(pixels: np.ndarray | Image.Image) -> str:
    """A picture (H, W, 3) uint8 as the data URL of a JPEG with at most `SIDE` pixels a side."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    return data_address(image, "JPEG", quality=88)


def exact_address(pixels: np.ndarray) -> str:
    """A small picture (h, w, 3) uint8 as the data URL of a lossless PNG."""
    return data_address(pixels, "PNG")


def tracks(rows: Sequence[tuple[str, Sequence[float], str]], ends: tuple[str, str, str], label: str, step: str) -> str:
    """A dot plot: a row for each name with a dot for each of its shares (0..1), from pale to dark, and a note.

    `ends` are the axis labels at 0, one half and 1; `label` says what is plotted and in which unit; `step` is the name
    of a dot.
    """
    items = []
    for name, shares, note in rows:
        dots = "".join(
            f'<i style="--at: {share:.4f}; --age: {(number + 1) / len(shares):.2f}" '
            f'title="{html.escape(step)} {number + 1}: {percent(share)}"></i>'
            for number, share in enumerate(shares)
        )
        spoken = ", ".join(f"{step} {number + 1}: {percent(share)}" for number, share in enumerate(shares))
        items.append(
            f'<li><span class="name" title="{html.escape(name)}">{html.escape(name)}</span>'
            f'<span class="line" role="img" aria-label="{html.escape(spoken)}">{dots}</span>'
            f"<b>{percent(shares[-1])}</b><small>{html.escape(note)}</small></li>"
        )
    axis = "".join(f"<span>{html.escape(end)}</span>" for end in ends)
    return (
        f'<ul class="tracks" aria-label="{html.escape(label)}">{"".join(items)}</ul>'
        f'<div class="axis" aria-hidden="true">{axis}</div>'
    )
