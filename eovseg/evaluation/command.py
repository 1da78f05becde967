"""Implementation of `eovseg evaluate`: a report, a comparison or a sweep."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eovseg import distributed
from eovseg.atomic_files import write_atomically
from eovseg.checkpoints import default_checkpoint
from eovseg.command_options import chosen_model, chosen_settings, read_words
from eovseg.data.class_table import ClassTable
from eovseg.data.data_sets import data_set, detected, existing_splits, open_data_set, unrecognised
from eovseg.data.labelled_folder import LabelledFolder, Photo
from eovseg.data.layouts import own
from eovseg.data.layouts.layout import SPLIT_FOLDERS
from eovseg.data.panoptic_folder import FOREIGN_NAMES
from eovseg.data.split import is_validation
from eovseg.errors import ConfigError
from eovseg.evaluation import html_report
from eovseg.evaluation.categories import classes_of_folder
from eovseg.evaluation.evaluate import Evaluator, Extra, evaluate
from eovseg.evaluation.origin import Origin
from eovseg.evaluation.report import csv_text
from eovseg.evaluation.stored import check_same, read_report, show_comparison
from eovseg.evaluation.sweep import SweepRow, best_setting, ensemble_grid, search, sweep, threshold_grid
from eovseg.presets import TRAINING_PRESET
from eovseg.vocabulary import Vocabulary


def run(arguments: argparse.Namespace) -> None:
    """Runs the command with parsed options; raises subclasses of `EovsegError`."""
    distributed.start(arguments.device)
    given = chosen_settings(arguments)
    folder, photos = _data(arguments)
    vocabulary = _vocabulary(arguments.vocabulary, folder)
    other = None
    if arguments.against:
        if arguments.sweep:
            raise ConfigError("--against compares reports, but --sweep does not create one; use only one of them.")
        other = read_report(arguments.against)
        _, words = classes_of_folder(folder, vocabulary, arguments.ignore_unmapped)
        check_same(other, [photo.file_name for photo in photos], words.labels, words.is_thing)
    if arguments.out and distributed.is_main():
        arguments.out.mkdir(parents=True, exist_ok=True)  # so that errors are reported before the long run
    if arguments.html and arguments.sweep:
        raise ConfigError("--html shows a report, but --sweep does not create one; use only one of them.")
    if arguments.html and distributed.is_main():
        html_report.check_folder(arguments.html)
    predictor = chosen_model(arguments)
    settings = given.completed(predictor.config)
    if arguments.sweep:
        evaluator = Evaluator(folder, vocabulary, predictor.seen(vocabulary), ["panoptic"], arguments.ignore_unmapped)
        decoded = evaluator.decode(predictor, distributed.local_part(photos))
        if arguments.sweep == "best-first":
            kept = [photo.logits_only() for photo in decoded]
            own = sweep(predictor, kept, evaluator.vocabulary, [settings])  # for comparison
            start = replace(settings, composition="best-first")
            rows = own + search(predictor, kept, evaluator.vocabulary, start)
        else:
            grid = ensemble_grid(settings) if arguments.sweep == "ensemble" else threshold_grid(settings)
            rows = sweep(predictor, decoded, evaluator.vocabulary, grid)
        if distributed.is_main():
            _show_sweep(rows, arguments.out)
        return
    # Before the run, because the weights and the checkout may change during it.
    weights = arguments.checkpoint or default_checkpoint(predictor.config.variant)
    origin = Origin.of(weights) if distributed.is_main() else None
    extras: dict[Extra, bool] = {
        "true masks": arguments.true_masks,
        "absent words": arguments.absent_words,
        "mask recall": arguments.mask_recall,
        "cost": arguments.cost,
        "evidence": arguments.html is not None,
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
    if arguments.html:
        print(html_report.write(report, folder, photos, arguments.html))
    if other:
        show_comparison(report, other, arguments.out)


def _data(arguments: argparse.Namespace) -> tuple[LabelledFolder, Sequence[Photo]]:
    """The folder or data set given by the options, and the photos to evaluate on.

    The splits training and validation are train and val or, for an undivided folder, its photos by `is_validation`.
    """
    if arguments.limit is not None and arguments.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {arguments.limit}.")
    root, paths = arguments.data, (arguments.annotations, arguments.images, arguments.panoptic)
    if any(paths) and arguments.dataset:
        raise ConfigError("--annotations, --images and --panoptic cannot be combined with --dataset; omit either.")
    name = own.PANOPTIC.name if any(paths) else arguments.dataset or detected(root)
    if name is None:
        raise unrecognised(root)
    existing = ("all",) if any(paths) else existing_splits(data_set(name), root)
    splits = (*(existing if any(paths) else data_set(name).splits), *SPLIT_FOLDERS.values())
    split = arguments.split or ("all" if "all" in existing else "val")
    if split not in splits:
        raise ConfigError(f'{name} has no split "{split}"; choose from {", ".join(splits)}.')
    part = split
    if split in SPLIT_FOLDERS.values():
        part = "all" if "all" in existing else "val" if split == "validation" else "train"
    folder = own.panoptic_folder(root, *paths) if any(paths) else open_data_set(name, root, part)
    photos: Sequence[Photo] = folder.photos
    if part == "all" != split:
        photos = [photo for photo in photos if is_validation(photo.file_name) == (split == "validation")]
    return folder, photos[: arguments.limit]


def _vocabulary(words: str | None, folder: LabelledFolder) -> Vocabulary:
    """The given words, else the data set's own; with all of COCO's classes, these are COCO's with their synonyms."""
    if words is not None:
        return read_words(words, distributed.is_main())
    coco, categories = ClassTable.preset(TRAINING_PRESET), folder.categories
    # A few of COCO's own names have no word in common with the preset's ("light" and "lamp").
    known = len(coco.foreign(categories)) <= FOREIGN_NAMES * len(categories)
    if folder.table is None or (categories.keys() == set(coco.ids) and known):
        return coco.vocabulary
    return folder.table.vocabulary


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and distributed.is_main():
        print(f"\r{done} of {total} photos", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _show_sweep(rows: Sequence[SweepRow], out: Path | None) -> None:
    """Prints one line per setting, then the best setting and how to export it; writes sweep.csv."""
    records = [row.record() for row in rows]
    for record in [*records, best_setting(rows).record()]:
        print(
            "  ".join(
                f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in record.items()
            )
        )
    chosen = best_setting(rows).settings.model_values() | {"calibration": None}  # the old calibration would not fit
    print("export with", *(shlex.join(["--set", f"{name}={json.dumps(value)}"]) for name, value in chosen.items()))
    if out:
        path = out / "sweep.csv"
        write_atomically(path, csv_text(records))
        print(path)
