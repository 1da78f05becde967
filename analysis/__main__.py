"""`python -m analysis figures`: the paper's figures for own photos, words and variant; `benchmark`: measured speed."""

import argparse
import sys
from pathlib import Path

import eovseg
from eovseg.assets import asset_path
from eovseg.errors import EovsegError


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    command = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    tasks = command.add_subparsers(dest="task", required=True)
    figures = tasks.add_parser("figures", help="draw sheets in the style of Fig. 3/9, 5, 6 and 10/11")
    figures.add_argument("--photo", type=Path, nargs="+", help="photos; by default two of the shipped ones")
    figures.add_argument("--words", default="coco-panoptic-133", help='a preset or words, "bus: thing; sky; road"')
    figures.add_argument("--probe", nargs="+", default=[], help="words whose similarity is drawn (Fig. 5)")
    figures.add_argument("--variant", default="xs", choices=("xs", "s", "m", "l"))
    figures.add_argument("--checkpoint", type=Path, help="weights instead of the variant's own")
    figures.add_argument("--clusters", type=int, default=6, metavar="K", help="clusters of Fig. 3/9")
    figures.add_argument("--hub", nargs="+", default=[], help='ViTs of the paper, "DINOv2 ViT-B/14" …: a download each')
    figures.add_argument("--format", nargs="+", default=["pdf", "png"], choices=("pdf", "png", "svg"), dest="formats")
    figures.add_argument("--out", type=Path, required=True, help="folder of the figures")
    speed = tasks.add_parser("benchmark", help="draw the CSV of `eovseg benchmark`")
    speed.add_argument("csv", type=Path)
    speed.add_argument("--out", type=Path, required=True, help="file of the figure: .png, .svg or .pdf")
    return command


def main(arguments: list[str] | None = None) -> int:
    """Draw; errors that a person can act on are printed as one sentence."""
    options = parser().parse_args(arguments)
    try:
        if options.task == "benchmark":
            from analysis.benchmark import draw_benchmark

            print(draw_benchmark(options.csv, options.out))
            return 0
        from analysis.sheets import draw_sheets  # matplotlib only once something is drawn

        photos = options.photo or [asset_path("photos/bus-street.jpg"), asset_path("photos/savanna.jpg")]
        predictor = eovseg.load(options.variant, options.checkpoint)
        written = draw_sheets(
            predictor,
            photos,
            options.words,
            options.out,
            probe=options.probe,
            k=options.clusters,
            hub=options.hub,
            formats=options.formats,
        )
    except EovsegError as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
