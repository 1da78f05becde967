"""`python -m eovseg.evaluation`, also `eovseg evaluate`: evaluate a model on labelled photos."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import get_args

from eovseg import distributed
from eovseg.checkpoints import default_checkpoint
from eovseg.choices import Backend, Dtype
from eovseg.command_words import read_words
from eovseg.data.data_sets import DATA_SET_NAMES, open_data_set
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.data.split import is_validation, validation_photos
from eovseg.errors import ConfigError, any_encoding, exit_code
from eovseg.evaluation.categories import classes_of_folder
from eovseg.evaluation.evaluate import Evaluator, Extra, Settings, evaluate
from eovseg.evaluation.origin import Origin
from eovseg.evaluation.report import csv_text
from eovseg.evaluation.stored import check_same, read_report, show_comparison
from eovseg.evaluation.sweep import SweepRow, best_setting, ensemble_grid, search, sweep, threshold_grid
from eovseg.loading import load
from eovseg.model.config import Composition, Ensemble, Variant
from eovseg.predictor import Task
from eovseg.vocabulary import TRAINING_PRESET, Vocabulary
from eovseg.whole_files import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options on `parser`."""
    parser.add_argument("data", type=Path, help="folder with images/, panoptic/ and panoptic.json, or a data set's")
    parser.add_argument("--dataset", choices=DATA_SET_NAMES, metavar="NAME", help="see `eovseg data list`")
    parser.add_argument("--annotations", type=Path, help="another panoptic JSON than DATA/panoptic.json")
    parser.add_argument("--images", type=Path, help="another folder of photos than DATA/images")
    parser.add_argument("--panoptic", type=Path, help="another folder of id PNGs than DATA/panoptic")
    parser.add_argument(
        "--split",
        help="of a plain folder: all (default), validation, training; of a data set: val (default), train",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N photos")
    parser.add_argument("--variant", default="xs", choices=get_args(Variant), help="default: xs")
    parser.add_argument("--checkpoint", type=Path, help="weight file; default: the variant's own")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...; default: auto")
    parser.add_argument("--dtype", default="float32", choices=get_args(Dtype), help="default: float32")
    parser.add_argument("--backend", default="torch", choices=get_args(Backend), help="default: torch")
    parser.add_argument(
        "--vocabulary",
        help="preset, vocabulary file, or words (person, people: thing; sky: stuff); default: the data set's own, "
        "else coco-panoptic-133",
    )
    parser.add_argument("--ignore-unmapped", action="store_true", help="categories in no class count as unlabelled")
    parser.add_argument("--tasks", nargs="+", choices=get_args(Task), help="default: all that the labels allow")
    parser.add_argument("--true-masks", action="store_true", help="also classify the true regions")
    parser.add_argument("--absent-words", action="store_true", help="also leave true words out and look for void")
    parser.add_argument("--mask-recall", action="store_true", help="also count the true segments that no mask reaches")
    parser.add_argument("--cost", action="store_true", help="also measure speed, parameters and memory")
    parser.add_argument(
        "--sweep",
        choices=("ensemble", "thresholds", "best-first"),
        help="settings on kept logits, instead of a report; best-first: a search for the fields of that composition",
    )
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--beta", type=float)
    parser.add_argument("--ensemble", choices=get_args(Ensemble))
    parser.add_argument("--score-threshold", type=float)
    parser.add_argument("--overlap-threshold", type=float)
    parser.add_argument("--void-threshold", type=float)
    parser.add_argument("--composition", choices=get_args(Composition), help="how kernels become panoptic segments")
    parser.add_argument("--mask-threshold", type=float)
    parser.add_argument("--pixel-threshold", type=float)
    parser.add_argument("--edges", action=argparse.BooleanOptionalAction, help="masks follow the photo's edges")
    parser.add_argument(
        "--no-calibration", dest="calibration", action="store_const", const=False, help="segments' scores as they are"
    )
    parser.add_argument("--out", type=Path, help="folder for CSV, JSON, the table and the counts of each photo")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="REPORT",
        help="folder of an earlier report on the same photos: show differences with paired 95 %% intervals",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command with parsed options; raises `EovsegError` for what a person can put right."""
    distributed.start(arguments.device)
    folder, photos = _data(arguments)
    vocabulary = _vocabulary(arguments.vocabulary, folder)
    other = None
    if arguments.against:
        if arguments.sweep:
            raise ConfigError("--against compares reports, and a sweep makes none; leave one of the two out.")
        other = read_report(arguments.against)
        _, words = classes_of_folder(folder, vocabulary, arguments.ignore_unmapped)
        check_same(other, [photo.file_name for photo in photos], words.labels, words.is_thing)
    if arguments.out and distributed.is_main():
        arguments.out.mkdir(parents=True, exist_ok=True)  # what cannot be written is told before the long run
    predictor = load(arguments.variant, arguments.checkpoint, arguments.device, arguments.dtype, arguments.backend)
    settings = _settings(arguments, Settings.of(predictor.config))
    if arguments.sweep:
        evaluator = Evaluator(folder, vocabulary, predictor.seen(vocabulary), ["panoptic"], arguments.ignore_unmapped)
        decoded = evaluator.decode(predictor, distributed.own(photos))
        if arguments.sweep == "best-first":
            kept = [photo.logits_only() for photo in decoded]
            own = sweep(predictor, kept, evaluator.vocabulary, [settings])  # the row to compare with
            start = replace(settings, composition="best-first")
            rows = own + search(predictor, kept, evaluator.vocabulary, start)
        else:
            grid = ensemble_grid(settings) if arguments.sweep == "ensemble" else threshold_grid(settings)
            rows = sweep(predictor, decoded, evaluator.vocabulary, grid)
        if distributed.is_main():
            _show_sweep(rows, arguments.out)
        return
    # Before the run: both files and the checkout may change while it lasts.
    weights = arguments.checkpoint or default_checkpoint(arguments.variant)
    origin = Origin.of(weights) if distributed.is_main() else None
    extras: dict[Extra, bool] = {
        "true masks": arguments.true_masks,
        "absent words": arguments.absent_words,
        "mask recall": arguments.mask_recall,
        "cost": arguments.cost,
    }
    report = evaluate(
        predictor,
        folder,
        photos,
        vocabulary,
        arguments.tasks,
        settings=settings,
        extras=[name for name, wanted in extras.items() if wanted],
        ignore_unmapped=arguments.ignore_unmapped,
        progress=_show_progress,
    )
    if not distributed.is_main():
        return
    report = replace(report, origin=origin)
    print(report.table())
    if arguments.out:
        for path in report.save(arguments.out):
            print(path)
    if other:
        show_comparison(report, other, arguments.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `python -m eovseg.evaluation`; errors that a person can act on are printed as one sentence."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation", description=__doc__)
    add_arguments(parser)
    any_encoding()
    options = parser.parse_args(argv)
    return exit_code(lambda: run(options))


def _data(arguments: argparse.Namespace) -> tuple[LabelledFolder, Sequence[Photo]]:
    """The folder or data set that the options name, and the photos to evaluate on."""
    if arguments.limit is not None and arguments.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {arguments.limit}.")
    paths = (arguments.annotations, arguments.images, arguments.panoptic)
    if arguments.dataset:
        if any(paths):
            raise ConfigError("--annotations, --images and --panoptic are for plain folders; leave --dataset out.")
        data = open_data_set(arguments.dataset, arguments.data, arguments.split)
        return data, data.photos[: arguments.limit]
    folder = PanopticFolder(arguments.data, *paths)
    photos: Sequence[Photo] = folder.photos
    if arguments.split == "validation":
        photos = validation_photos(folder)
    elif arguments.split == "training":
        photos = [photo for photo in folder.photos if not is_validation(photo.file_name)]
    elif arguments.split not in (None, "all"):
        raise ConfigError(f"A plain folder's --split is all, validation or training, not {arguments.split}.")
    return folder, photos[: arguments.limit]


def _vocabulary(words: str | None, folder: LabelledFolder) -> Vocabulary:
    """The words given, else the data set's own, else COCO's."""
    if words is not None:
        return read_words(words, distributed.is_main())
    return folder.table.vocabulary if folder.table else Vocabulary.preset(TRAINING_PRESET)


def _settings(arguments: argparse.Namespace, start: Settings) -> Settings:
    """The model's settings with those given on the command line in their place."""
    given = {field.name: getattr(arguments, field.name, None) for field in fields(start)}
    return replace(start, **{name: value for name, value in given.items() if value is not None})


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and distributed.is_main():
        print(f"\r{done} of {total} photos", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _show_sweep(rows: Sequence[SweepRow], out: Path | None) -> None:
    """Print one line a setting, the best one last, how to export it, and write sweep.csv."""
    records = [row.record() for row in rows]
    for record in [*records, best_setting(rows).record()]:
        print(
            "  ".join(
                f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in record.items()
            )
        )
    chosen = asdict(best_setting(rows).settings) | {"calibration": None}  # one of before would no longer fit
    print("export with", *(shlex.join(["--set", f"{name}={json.dumps(value)}"]) for name, value in chosen.items()))
    if out:
        path = out / "sweep.csv"
        write_whole(path, csv_text(records))
        print(path)


if __name__ == "__main__":
    sys.exit(main())
