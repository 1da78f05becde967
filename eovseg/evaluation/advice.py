"""`python -m eovseg.evaluation.advice FOLDER --out OUT`: measures the advice about words and determines its thresholds.

It writes tables with 95 % intervals (bootstrap over photos):

- `suggest.csv`: recall of the true classes among 10 and 20 suggested nouns.
- `doctor.csv`: how often a true class, deleted from the list of a photo's classes, is among five proposed nouns.
- `presence.csv`: distinguishing words that are in the photo from others.
- `absence.csv`: distinguishing regions whose word is not in the list from others.
- `sets.csv`: how often the words of a segment include the right one (the target is 90 %).

Choices and fits are evaluated on other photos, by halves or in 10 folds. The words are COCO's, all seen in training.
`--honesty FILE` writes the thresholds fitted on all photos, the file that is placed beside the weights. `--values FILE`
caches the outputs of the network, which take most of the time, for the next run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.command_options import add_model_options, chosen_model
from eovseg.errors import ConfigError, any_encoding, exit_code
from eovseg.evaluation.bootstrap import draws_of, interval

if TYPE_CHECKING:
    from eovseg.advice.kernels import Kernels
    from eovseg.evaluation.word_values import ListValues, PhotoValues
    from eovseg.predictor import Predictor

FOLDS = 10
LEVEL = 0.9
RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
TIMED = 5  # number of photos for measuring time
Row = dict[str, Any]


def suggest_table(photos: "Sequence[PhotoValues]", methods: "Methods") -> list[Row]:
    """Recall at 10 and 20 of each ranking method, and of the method chosen on one half of the photos for the other."""
    hits = {name: {k: np.zeros(len(photos), dtype=np.int64) for k in (10, 20)} for name in methods.names}
    for number, photo in enumerate(photos):
        for name, order in methods.orders(photo).items():
            for k, found in hits[name].items():
                found[number] = methods.found(order[:k], photo)
    true = np.array([int((photo.share > 0).sum()) for photo in photos])
    rows = [_recall_row(name, found, true) for name, found in hits.items()]
    half = np.arange(len(photos)) % 2
    chosen = {k: np.zeros(len(photos), dtype=np.int64) for k in (10, 20)}
    for own in (0, 1):
        best = max(
            methods.names, key=lambda name: hits[name][20][half != own].sum() + hits[name][10][half != own].sum()
        )
        for k in chosen:
            chosen[k][half == own] = hits[best][k][half == own]
    rows.append(_recall_row("chosen on the other half", chosen, true))
    return rows


def _recall_row(name: str, hits: Mapping[int, np.ndarray], true: np.ndarray) -> Row:
    row: Row = {"ranked by": name}
    for k, found in hits.items():
        row |= _named(f"recall at {k}", *_share(found, true))
    return row


def doctor_table(photos: "Sequence[PhotoValues]", methods: "Methods") -> list[Row]:
    """How often a true class is among the five nouns proposed for a list of the photo's other classes."""
    from eovseg.advice.doctor import MAX_PROPOSALS

    hits: dict[str, list[int]] = {}
    for photo in photos:
        own, kernels = np.flatnonzero(photo.share).tolist(), methods.kernels(photo.full)
        counts: dict[str, int] = {}
        for gone in own:
            for name, order in methods.proposals(kernels, [index for index in own if index != gone]).items():
                counts[name] = counts.get(name, 0) + int(gone in methods.coco[order[:MAX_PROPOSALS]])
        for name, count in counts.items():
            hits.setdefault(name, []).append(count)
    true = np.array([int((photo.share > 0).sum()) for photo in photos])
    plain = np.array(hits["suggest"])
    return [
        {"proposed by": name}
        | _named("found", *_share(np.array(found), true))
        | _named("more than suggest", *_share(np.array(found) - plain, true))
        for name, found in hits.items()
    ]


class Methods:
    """The compared methods for ranking nouns, for photos with COCO's classes."""

    def __init__(self, rows: np.ndarray, scales: tuple[float, float]) -> None:
        from eovseg.advice.nouns import nouns
        from eovseg.vocabulary import TRAINING_PRESET, Vocabulary

        owner: dict[str, int] = {}
        for index, entry in enumerate(Vocabulary.preset(TRAINING_PRESET).classes):
            for name in entry.names:
                owner.setdefault(name.casefold().replace("-", " "), index)
        # The COCO class of each noun, -1 for none.
        self.coco = np.array([next((owner[n] for n in e.names if n in owner), -1) for e in nouns().classes])
        self.rows, self.scales = rows, scales
        parts = ("kernels", "trained classifier", "image encoder", "best kernel", "VAS", "cells", "kernels and VAS")
        self.names = ["most frequent classes", *(f"{p}{end}" for p in parts for end in ("", " + prior"))]

    def kernels(self, values: "ListValues") -> "Kernels":
        from eovseg.advice.kernels import Kernels

        return Kernels(values.class_embeddings, values.frozen_embeddings, values.valid, values.void, self.scales)

    def scores(self, photo: "PhotoValues") -> dict[str, np.ndarray]:
        """The score (K,) of every noun, by method."""
        from scipy.special import log_softmax

        from eovseg.advice.suggest import WEIGHT, evidence, starts

        kernels = self.kernels(photo.full)
        best = kernels.log_probabilities(self.rows, starts(), WEIGHT) + np.log(1 - kernels.void + 1e-9)[:, None]
        cells = np.maximum.reduceat(self.scales[1] * photo.cells @ self.rows.T, starts(), axis=1)
        found = {
            "kernels": evidence(kernels, self.rows),
            "trained classifier": evidence(kernels, self.rows, 0.0),
            "image encoder": evidence(kernels, self.rows, 1.0),
            "best kernel": best.max(0),
            "VAS": np.maximum.reduceat(photo.vas[1], starts()),
            "cells": np.log(np.exp(log_softmax(cells, axis=1)).mean(0)),
        }
        return found | {"kernels and VAS": found["kernels"] + 0.5 * found["VAS"]}

    def orders(self, photo: "PhotoValues") -> dict[str, np.ndarray]:
        """All nouns ranked by each method, likeliest first."""
        from eovseg.advice.suggest import prior

        found = {self.names[0]: prior()}
        for part, scores in self.scores(photo).items():
            found |= {part: scores, f"{part} + prior": scores + prior()}
        return {name: np.argsort(-found[name], kind="stable") for name in self.names}

    def found(self, places: np.ndarray, photo: "PhotoValues") -> int:
        """How many of the photo's true classes are named by the nouns with the indices `places`."""
        return len(set(self.coco[places].tolist()) & set(np.flatnonzero(photo.share).tolist()))

    def proposals(self, kernels: "Kernels", listed: Sequence[int]) -> dict[str, np.ndarray]:
        """Nouns ranked for a list of the classes `listed`, by methods that use the list and methods that do not."""
        from eovseg.advice.suggest import evidence, prior, starts

        on_list = np.isin(self.coco, listed)
        labels = self.rows[starts()]
        near = (labels @ labels[on_list].T).max(1) if on_list.any() else np.zeros(len(labels))
        plain = evidence(kernels, self.rows) + prior()
        scores = {
            "most frequent classes": prior(),
            "suggest": plain,
            "suggest, where no listed word fits": evidence(kernels, self.rows, on_list=on_list) + prior(),
            "suggest, far from listed words": plain - 2 * near,
        }
        return {name: np.argsort(-np.where(on_list, -np.inf, s), kind="stable") for name, s in scores.items()}


def presence_table(photos: "Sequence[PhotoValues]", alpha: float) -> tuple[list[Row], dict[int, dict[str, float]]]:
    """Rows by length of list, and the thresholds fitted on all photos, by length.

    Rows have the ROC area, and the false alarms and found words with thresholds fitted on other photos.
    """
    rows: list[Row] = []
    limits: dict[int, dict[str, float]] = {}
    for length, of_photo in _lists(photos):
        evidence = [_evidence(of_photo(photo), alpha) for photo in photos]
        there = [photo.share[of_photo(photo).classes] > 0 for photo in photos]
        row: Row = {"words": length} | _named("ROC area", *_area(evidence, there))
        limits[length] = {}
        for rate in RATES:
            limits[length][f"{rate}"] = _upper(evidence, there, rate)
            alarms, found = np.zeros((2, len(photos))), np.zeros((2, len(photos)))
            for number, threshold in _held_out(len(photos), partial(_upper, rate=rate), evidence, there):
                said, true = evidence[number] >= threshold, there[number]
                alarms[:, number] = (said & ~true).sum(), (~true).sum()
                found[:, number] = (said & true).sum(), true.sum()
            row |= _named(f"false alarms at {rate}", *_share(*alarms)) | _named(f"found at {rate}", *_share(*found))
        rows.append(row)
    return rows, limits


def absence_table(photos: "Sequence[PhotoValues]", alpha: float) -> list[Row]:
    """ROC areas of measures for the absence of a true region's word; words are omitted as by `--absent-words`."""
    rows = []
    for name, measure in _ABSENCE.items():
        values, gone = zip(*(_regions(photo, measure, alpha) for photo in photos if len(photo.regions)), strict=True)
        rows.append({"told by": name} | _named("ROC area", *_area(values, gone)))
    return rows


def sets_table(photos: "Sequence[PhotoValues]", alpha: float) -> tuple[list[Row], dict[int, float]]:
    """Rows by length of list, and the thresholds fitted on all photos, by length.

    Rows have the coverage and the number of the words of segments, with thresholds fitted on other photos.
    """
    rows: list[Row] = []
    limits: dict[int, float] = {}
    for length, of_photo in _lists(photos):
        segments = [_segments(of_photo(photo), alpha) for photo in photos]
        right = [values for values, _ in segments]
        limits[length] = _lower(right)
        held, sizes = np.zeros((2, len(photos))), []
        for number, threshold in _held_out(len(photos), _lower, right):
            own, among = segments[number]
            # The best word is always included, even if it is below the threshold.
            size = [max(1, int((row >= threshold).sum())) for row in among]
            covered = [p >= threshold or p == row.max() for p, row in zip(own, among, strict=True)]
            held[:, number] = sum(covered), len(covered)
            sizes += size
        row: Row = {"words": length, "segments": int(held[1].sum())} | _named("coverage", *_share(*held))
        set_sizes = np.array(sizes)
        rows.append(
            row
            | {
                "mean words": round(float(set_sizes.mean()), 2),
                "median words": float(np.median(set_sizes)),
                "share with one word": round(float((set_sizes == 1).mean()), 3),
                "share with at most five": round(float((set_sizes <= 5).mean()), 3),
            }
        )
    return rows, limits


def _lists(photos: "Sequence[PhotoValues]") -> "list[tuple[int, Callable[[PhotoValues], ListValues]]]":
    """The lengths of the decoded lists, each with a function that selects the values of that list from a photo."""
    from eovseg.evaluation.word_values import SIZES

    shorter = [(size, lambda photo, place=place: photo.shorter[place]) for place, size in enumerate(SIZES)]
    return [(len(photos[0].full.classes), lambda photo: photo.full), *shorter]


def _evidence(values: "ListValues", alpha: float) -> np.ndarray:
    from eovseg.advice.thresholds import word_evidence

    return word_evidence(values.inside, values.outside, values.valid, alpha)


def among_words(values: "ListValues", alpha: float) -> np.ndarray:
    """Probabilities (Q, K) among the list, as in `words_of_kernels`."""
    from scipy.special import log_softmax, softmax

    weight = alpha * values.valid[:, None]
    mixed = (1 - weight) * log_softmax(values.inside, axis=1) + weight * log_softmax(values.outside, axis=1)
    scores = softmax(mixed, axis=1) * (1 - values.void[:, None]) + 1e-8
    return np.asarray(scores / scores.sum(1, keepdims=True))


def _segments(values: "ListValues", alpha: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """For n segments, the probability of the true word (n,) and those of all words (n arrays (K,)).

    The true word is that of most labelled pixels. Segments without labelled pixels, or whose true class is not in the
    list, are omitted.
    """
    probabilities = among_words(values, alpha)
    place = {int(index): i for i, index in enumerate(values.classes)}
    own, among = [], []
    for segment in values.segments:
        true = int(segment.true_pixels.argmax())
        if segment.true_pixels.any() and true in place:
            own.append(float(probabilities[segment.query, place[true]]))
            among.append(probabilities[segment.query])
    return np.array(own), among


def _regions(photo: "PhotoValues", measure: Callable[..., np.ndarray], alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """For each true region, `measure` of the kernel that covers it best, and whether its word is not in the list."""
    from eovseg.evaluation.word_values import unpacked

    true = (
        unpacked(photo.region_masks, photo.full.grid)[: len(photo.regions)]
        .reshape(len(photo.regions), -1)
        .astype(float)
    )
    values, gone = [], []
    for offered in photo.without:
        masks = unpacked(offered.masks, offered.grid)[: len(offered.void)].reshape(len(offered.void), -1).astype(float)
        shared = true @ masks.T
        best = (shared / np.maximum(true.sum(1)[:, None] + masks.sum(1) - shared, 1)).argmax(1)
        values.append(measure(offered, alpha)[best])
        gone.append(~np.isin(photo.regions, offered.classes))
    return np.concatenate(values), np.concatenate(gone)


def _entropy(values: "ListValues", alpha: float) -> np.ndarray:
    among = among_words(values, alpha)
    return np.asarray(-(among * np.log(among)).sum(1))


_ABSENCE: dict[str, Callable[..., np.ndarray]] = {
    "void probability": lambda values, alpha: values.void,
    "best word's probability": lambda values, alpha: -among_words(values, alpha).max(1),
    "entropy among the words": _entropy,
}


def _upper(evidence: Sequence[np.ndarray], there: Sequence[np.ndarray], rate: float) -> float:
    """The threshold reached by at most a share `rate` of absent words, with the finite-sample correction."""
    absent = np.sort(np.concatenate([own[~true] for own, true in zip(evidence, there, strict=True)]))
    place = int(np.ceil((1 - rate) * (len(absent) + 1)))
    return float(np.nextafter(absent[min(place, len(absent)) - 1], np.inf))


def _lower(right: Sequence[np.ndarray]) -> float:
    """The threshold reached by the right word in a share `LEVEL` of cases, with the finite-sample correction."""
    values = np.sort(np.concatenate(right))
    return float(values[max(int(np.floor((1 - LEVEL) * (len(values) + 1))) - 1, 0)])


def _held_out(count: int, fit: Callable[..., float], *values: Sequence[np.ndarray]) -> list[tuple[int, float]]:
    """For each photo, its number and the threshold fitted to the photos of other folds."""
    fitted = []
    for fold in range(FOLDS):
        others = [[own[i] for i in range(count) if i % FOLDS != fold] for own in values]
        fitted.append(fit(*others))
    return [(number, fitted[number % FOLDS]) for number in range(count)]


def _share(part: np.ndarray, whole: np.ndarray) -> tuple[float, float, float]:
    """Sum of `part` divided by the sum of `whole`, both with one number per photo, and its interval."""
    draws = draws_of(len(part))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = (draws @ part) / (draws @ whole)
    return (float(shares[0]), *interval(shares[1:], float(shares[0])))


def _area(values: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Area under the ROC curve of `values` as predictions of `true`, one array per photo, and its interval."""
    photo = np.repeat(np.arange(len(values)), [len(own) for own in values])
    value, positive = np.concatenate(values), np.concatenate(true)
    order = np.argsort(value, kind="stable")
    photo, positive = photo[order], positive[order]
    _, group = np.unique(value[order], return_inverse=True)
    areas = []
    for draw in draws_of(len(values)):
        weight = draw[photo].astype(float)
        right = np.bincount(group, weight * positive)
        wrong = np.bincount(group, weight * ~positive)
        areas.append((right * (np.cumsum(wrong) - wrong / 2)).sum() / (right.sum() * wrong.sum()))
    return (float(areas[0]), *interval(np.array(areas[1:]), float(areas[0])))


def _named(name: str, value: float, low: float, high: float) -> Row:
    return {name: round(value, 4), f"{name}, low": round(low, 4), f"{name}, high": round(high, 4)}


def suggest_time(predictor: "Predictor", images: Sequence[np.ndarray]) -> Row:
    """CPU time of suggestions for a new photo, divided by that of segmenting it with COCO's words: median, maximum."""
    from eovseg.vocabulary import TRAINING_PRESET

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
    any_encoding()
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation.advice", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of fully labelled photos with COCO's classes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--values", type=Path, metavar="FILE", help="cache for the network's outputs")
    parser.add_argument("--honesty", type=Path, metavar="FILE", help="file to write the thresholds to")
    add_model_options(parser)
    options = parser.parse_args(argv)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
