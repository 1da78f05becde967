"""`python -m analysis.contact_sheet PHOTOS…`: photos beside their segments on one sheet, words typed once for all."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import eovseg
from eovseg.vocabulary import Vocabulary

WIDTH = 400  # of one photo; a pair is twice that
GAP = 12


def contact_sheet(results: Sequence[eovseg.Result], columns: int = 2, width: int = WIDTH) -> Image.Image:
    """Photo and overlay side by side for every result, `columns` pairs a row, on white."""
    pairs = [_pair(result, width) for result in results]
    rows = [pairs[i : i + columns] for i in range(0, len(pairs), columns)]
    heights = [max(pair.height for pair in row) for row in rows]
    sheet_width = columns * 2 * width + (columns + 1) * GAP
    sheet = Image.new("RGB", (sheet_width, sum(heights) + GAP * (len(rows) + 1)), "white")
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for column, pair in enumerate(row):
            sheet.paste(pair, (GAP + column * (2 * width + GAP), top))
        top += height + GAP
    return sheet


def _pair(result: eovseg.Result, width: int) -> Image.Image:
    photo, overlay = Image.fromarray(result.image), result.overlay(0.6)
    height = round(photo.height * width / photo.width)
    pair = Image.new("RGB", (2 * width, height))
    pair.paste(photo.resize((width, height)), (0, 0))
    pair.paste(overlay.resize((width, height), Image.Resampling.LANCZOS), (width, 0))
    return pair


def main() -> int:
    """Entry of the command."""
    parser = argparse.ArgumentParser(prog="python -m analysis.contact_sheet", description=__doc__)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--vocabulary", default="everyday", help="words or a preset; default: everyday")
    parser.add_argument("--variant", default="xs")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="JPEG or PNG file of the sheet")
    options = parser.parse_args()
    try:
        vocabulary = Vocabulary.coerce(options.vocabulary)
        predictor = eovseg.load(options.variant, options.checkpoint)
        results = [predictor(photo, vocabulary) for photo in options.photos]
    except eovseg.EovsegError as error:
        print(error, file=sys.stderr)
        return 1
    contact_sheet(results).save(options.output, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
