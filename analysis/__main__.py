"""`figures` draws the paper's figures for your own photos, words and variant; `benchmark` and `memory` plot measured
speed and memory; `vas-selection` measures how much VAS selects on labelled photos."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import eovseg
from eovseg.assets import asset_path
from eovseg.atomic_files import write_atomically
from eovseg.command_options import add_model_options, chosen_model, read_words
from eovseg.errors import ConfigError, run_command


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    command = argparse.ArgumentParser(prog="eovseg analysis", description=__doc__)
    tasks = command.add_subparsers(dest="task", required=True)
    figures = tasks.add_parser("figures", help="draw figures in the style of Fig. 3/9, 5, 6 and 10/11")
    figures.add_argument("--photo", type=Path, nargs="+", help="photos; defaults to two of the shipped examples")
    figures.add_argument("--words", default="coco-panoptic-133", help='a preset, or words: "bus: thing; sky; road"')
    figures.add_argument("--probe", nargs="+", default=[], help="words whose similarity maps are drawn (Fig. 5)")
    add_model_options(figures)
    figures.add_argument("--clusters", default="6", metavar="K", help="number of clusters in Fig. 3/9, at least 2")
    figures.add_argument("--hub", nargs="+", default=[], help='ViTs to download, such as "DINOv2 ViT-B/14"')
    figures.add_argument("--format", nargs="+", default=["pdf", "png"], choices=("pdf", "png", "svg"), dest="formats")
    figures.add_argument("--out", type=Path, required=True, help="output folder for the figures")
    measured = (("benchmark", "eovseg benchmark"), ("memory", "python -m eovseg.benchmark.memory"))
    for name, source in measured:
        drawn = tasks.add_parser(name, help=f"plot a CSV written by `{source}`")
        drawn.add_argument("csv", type=Path, help="CSV file to plot")
        drawn.add_argument("--out", type=Path, required=True, help="file to write the figure to: .png, .svg or .pdf")
    selection = tasks.add_parser("vas-selection", help="measure the spread of VAS's weights and word similarity")
    selection.add_argument("data", type=Path, help="folder with images/, panoptic/ and panoptic.json")
    selection.add_argument("--words", default="coco-panoptic-133", help="a preset, a file or words; all compete in VAS")
    add_model_options(selection)
    selection.add_argument("--limit", type=int, metavar="N", help="use only the first N photos")
    selection.add_argument("--out", type=Path, required=True, help="JSON file to write")
    return command


def main(arguments: list[str] | None = None) -> int:
    """Entry point; an error the user can act on is printed as one sentence."""
    tasks = {"figures": _figures, "benchmark": _speed, "memory": _memory, "vas-selection": _selection}
    return run_command(parser(), lambda options: tasks[options.task](options), arguments)


def _speed(options: argparse.Namespace) -> None:
    from analysis.benchmark import draw_benchmark

    print(draw_benchmark(options.csv, options.out))


def _memory(options: argparse.Namespace) -> None:
    from analysis.memory import draw_memory

    print(draw_memory(options.csv, options.out))


def _selection(options: argparse.Namespace) -> None:
    from analysis.selection import measure_selection
    from eovseg.checkpoints import default_checkpoint
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.evaluation.origin import Origin

    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {options.limit}.")
    folder, words = PanopticFolder(options.data), eovseg.Vocabulary.read(options.words)
    predictor = chosen_model(options)
    variant = predictor.config.variant
    origin = Origin.of(options.checkpoint or default_checkpoint(variant))
    found = measure_selection(predictor, folder, folder.photos[: options.limit], words)
    document = {"data": folder.name, "variant": variant, "origin": asdict(origin), **found.to_json()}
    write_atomically(options.out, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    print(f"{len(found.spreads)} photos, {len(found.pairs)} pairs of photo and word")
    for name, row in found.summary.items():
        print(f"{name}: {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
    print(options.out)


def _figures(options: argparse.Namespace) -> None:
    from analysis.sheets import draw_sheets, sheet_names  # loads matplotlib, so only when something is drawn

    photos = options.photo or [asset_path("photos/bus-street.jpg"), asset_path("photos/savanna.jpg")]
    predictor = chosen_model(options)
    written = draw_sheets(
        predictor,
        photos,
        read_words(options.words),
        options.out,
        probe=options.probe,
        k=options.clusters,
        hub=options.hub,
        formats=options.formats,
    )
    for path in written:
        print(path)
    for photo, name in zip(photos, sheet_names(photos), strict=True):
        if name != photo.stem:
            print(f'The figures of "{photo}" are named "{name}".', file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
