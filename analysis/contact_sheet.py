"""Draws photos beside their segments on one sheet, all with the same words."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import eovseg
from eovseg.command_options import add_model_options, chosen_model, read_words
from eovseg.errors import run_command

WIDTH = 400  # width of one photo in pixels; a pair is twice as wide
GAP = 12


def contact_sheet(results: "Sequence[eovseg.Result]", columns: int = 2, width: int = WIDTH) -> Image.Image:
    """Photo and overlay side by side for every result, `columns` pairs per row, on white.

    All photos of a row have the same height and together fill its width; `width` is their average width in pixels.
    """
    rows = [results[i : i + columns] for i in range(0, len(results), columns)]
    heights = [_row_height(row, len(row) * width) for row in rows]
    sheet_width = columns * 2 * width + (columns + 1) * GAP
    sheet = Image.new("RGB", (sheet_width, sum(map(round, heights)) + GAP * (len(rows) + 1)), "white")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        left = GAP
        for result in row:
            pair = _pair(result, height)
            sheet.paste(pair, (left, top))
            left += pair.width + GAP
        top += round(height) + GAP
    return sheet


def _row_height(row: "Sequence[eovseg.Result]", width: int) -> float:
    """Height in pixels at which the photos of a row are together `width` pixels wide."""
    return width / sum(result.image.shape[1] / result.image.shape[0] for result in row)


def _pair(result: "eovseg.Result", height: float) -> Image.Image:
    photo, overlay = Image.fromarray(result.image), result.overlay(0.6)
    width = round(photo.width * height / photo.height)
    size = width, round(height)
    pair = Image.new("RGB", (2 * width, size[1]))
    pair.paste(photo.resize(size), (0, 0))
    pair.paste(overlay.resize(size, Image.Resampling.LANCZOS), (width, 0))
    return pair


def main() -> int:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="python -m analysis.contact_sheet", description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--vocabulary", default="everyday", help="words or a preset; defaults to everyday")
    add_model_options(parser)
    parser.add_argument("--output", type=Path, required=True, help="JPEG or PNG file to write the sheet to")
    return run_command(parser, draw)


def draw(options: argparse.Namespace) -> None:
    """Segments the photos and writes the sheet; raises `EovsegError`."""
    vocabulary = read_words(options.vocabulary)
    predictor = chosen_model(options)
    results = [predictor(photo, vocabulary) for photo in options.photos]
    contact_sheet(results).save(options.output, quality=88)


if __name__ == "__main__":
    sys.exit(main())
