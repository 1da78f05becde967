"""`python -m eovseg.evaluation.advice FOLDER --out OUT`: measures the advice about words and determines its thresholds.

It writes tables with 95 % intervals (bootstrap over photos):

- `suggest.csv`: recall of the true classes among 10 and 20 suggested nouns.
- `doctor.csv`: how often a true class, deleted from the list of a photo's classes, is among five proposed nouns.
- `presence.csv`: how well words in the photo are distinguished from others; with `--lvis`, also seen and unseen words
  of LVIS, where the list of a photo consists of the classes that it is known to show and those that it is known to
  lack.
- `absence.csv`: how well regions whose word is not in the list are distinguished from others.
- `sets.csv`: how often the words of a segment include the right one (the target is 90 %).

Choices and fits are evaluated on photos that were not used for them (the other half, or 10 folds). The words are
COCO's, all seen in training, except those of `--lvis`.
`--honesty FILE` writes the thresholds fitted on all photos, the file that is placed beside the weights. `--values FILE`
caches the outputs of the network, which take most of the time, for the next run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.command_options import add_model_options, chosen_model
from eovseg.errors import ConfigError, run_command
from eovseg.evaluation.advice_nouns import Methods, doctor_table, suggest_table
from eovseg.evaluation.advice_thresholds import LEVEL, absence_table, presence_row, presence_table, sets_table

if TYPE_CHECKING:
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.predictor import Predictor

TIMED = 5  # number of photos for measuring time
Row = dict[str, Any]


def suggest_time(predictor: "Predictor", images: Sequence[np.ndarray]) -> Row:
    """CPU time of suggestions for a new photo, divided by that of segmenting it with COCO's words: median, maximum."""
    from eovseg.presets import TRAINING_PRESET

    def seconds(work: Callable[[], object]) -> float:
        predictor.clear_cache()
        begin = time.process_time()
        work()
        return time.process_time() - begin

    predictor.suggest(images[0])
    predictor(images[0], TRAINING_PRESET)
    pairs = [
        (seconds(partial(predictor.suggest, image)), seconds(partial(predictor, image, TRAINING_PRESET)))
        for image in images
    ]
    ratios = sorted(own / whole for own, whole in pairs)
    return {
        "photos": len(pairs),
        "suggest over a whole photo": round(ratios[len(ratios) // 2], 2),
        "largest": round(ratios[-1], 2),
    }


def lvis_rows(predictor: "Predictor", folder: "PanopticFolder") -> list[Row]:
    """Rows of `presence.csv` for the seen and the unseen words of photos that list `neg_category_ids`."""
    from eovseg.advice.thresholds import decoded_evidence
    from eovseg.vocabulary import Vocabulary, WordClass

    evidence, there, seen = [], [], []
    for photo in folder.photos:
        shown = {segment.category_id for segment in photo.segments}
        listed = sorted(shown.union(photo.negative_category_ids))
        words = Vocabulary(tuple(WordClass((folder.categories[i].name,), True) for i in listed))
        decoded = predictor.decode(predictor.encode_image(folder.load_image(photo), keep=False), words)
        evidence.append(decoded_evidence(decoded.logits, predictor.config.alpha))
        there.append(np.array([number in shown for number in listed]))
        seen.append(predictor.seen(words))
    rows = []
    for name, kind in (("LVIS, seen", True), ("LVIS, unseen", False)):
        chosen = [own == kind for own in seen]
        values, true = ([own[some] for own, some in zip(given, chosen, strict=True)] for given in (evidence, there))
        rows.append({"words": name} | presence_row(values, true))
    return rows


def run(options: argparse.Namespace) -> None:
    """Collects the values unless they are cached, and writes the tables."""
    from eovseg.advice.kernels import scales
    from eovseg.advice.nouns import noun_rows
    from eovseg.advice.thresholds import AdviceThresholds, ListThresholds
    from eovseg.checkpoints import default_checkpoint
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.evaluation.origin import Origin
    from eovseg.evaluation.report import csv_text
    from eovseg.evaluation.word_values import collect, read

    folder = PanopticFolder(options.data)
    predictor = chosen_model(options)
    options.out.mkdir(parents=True, exist_ok=True)
    values = options.values or options.out / "values.pkl"
    if not values.exists():
        collect(predictor, folder, values)
    photos = list(read(values))
    if [photo.name for photo in photos] != [photo.file_name for photo in folder.photos]:
        raise ConfigError(f'"{values}" does not belong to the {len(folder)} photos of {folder.name}; delete it.')
    if options.values is None:
        values.unlink()
    weights = options.checkpoint or default_checkpoint(predictor.config.variant)
    origin, alpha = Origin.of(weights), predictor.config.alpha
    methods = Methods(noun_rows(predictor), scales(predictor))
    presence, evidence = presence_table(photos, alpha)
    if options.lvis:
        presence += lvis_rows(predictor, PanopticFolder(options.lvis))
    sets, probability = sets_table(photos, alpha)
    tables = {
        "suggest": suggest_table(photos, methods),
        "doctor": doctor_table(photos, methods),
        "presence": presence,
        "absence": absence_table(photos, alpha),
        "sets": sets,
    }
    for name, rows in tables.items():
        write_atomically(options.out / f"{name}.csv", csv_text(rows))
        print(options.out / f"{name}.csv")
    timed = suggest_time(predictor, [folder.load_image(photo) for photo in folder.photos[:TIMED]])
    about = {"photos": len(photos), "data": folder.name, "origin": asdict(origin), "time": timed}
    write_atomically(options.out / "about.json", json.dumps(about, indent=1) + "\n")
    if options.honesty:
        limits = tuple(ListThresholds(n, evidence[n], probability[n]) for n in sorted(evidence))
        document = AdviceThresholds(str(origin.sha256), LEVEL, limits).to_json()
        write_atomically(options.honesty, json.dumps(document, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation.advice", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of fully labelled photos with COCO's classes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--lvis", type=Path, metavar="FOLDER", help="COCO panoptic folder of LVIS photos")
    parser.add_argument("--values", type=Path, metavar="FILE", help="cache for the network's outputs")
    parser.add_argument("--honesty", type=Path, metavar="FILE", help="file to write the thresholds to")
    add_model_options(parser)
    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
