"""`python -m eovseg.evaluation.by_example FOLDER -v WORDS --out FILE.csv`: compares words by example with typed ones.

It uses the unseen classes of a folder that occur in several photos. Each photo is evaluated with examples from other
photos only: 1, 3 or 5 masks per class, from as many different photos as possible. Three lists are compared on the same
regions: the words themselves, examples instead of these words, and examples of another class instead of each word
(shuffled), which shows whether the content of the examples matters. In scope "one", one class is given by example and
the others by words; in scope "all", with 3 examples, all these classes are given by example, and the panoptic result is
measured too.

`own` regions are those of the classes by example, `rest` are all others on the same photos; `taken` is the share of
`rest` that gets the name of a class by example.
Panoptic figures pool the segments of the classes by example over the photos that have one. All figures are in percent,
with 95 % intervals (bootstrap over photos); `gain` is the difference from words alone on the same resamples, and for
examples, `over` is the difference from shuffled ones.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from eovseg.atomic_files import write_atomically
from eovseg.command_options import add_model_options, chosen_model, read_words
from eovseg.errors import ConfigError, DataError, run_command
from eovseg.evaluation.bootstrap import draws_of, interval

if TYPE_CHECKING:
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.evaluation.categories import Truth
    from eovseg.predictor import Predictor
    from eovseg.result import Result
    from eovseg.stages import Decoded
    from eovseg.vocabulary import Vocabulary

COUNTS = (1, 3, 5)
DEFAULT_COUNT = 3  # number of examples for the figures that take longer
CLASSIFIERS = ("in-vocabulary", "out-of-vocabulary", "ensemble")  # in the order of eovseg/evaluation/true_masks.py
PANOPTIC = ("panoptic recall", "panoptic quality")
Key = tuple[str, str, int, str]  # figure, scope, examples, condition


@dataclass(frozen=True)
class Example:
    """One mask: the index of its photo, its class, and its direction (D,)."""

    photo: int
    class_index: int
    row: np.ndarray


class ExampleComparison:
    """Comparison of words by example with typed words on the photos of a folder."""

    def __init__(
        self, predictor: "Predictor", folder: "PanopticFolder", vocabulary: "Vocabulary", draws: int, seed: int = 0
    ) -> None:
        from eovseg.evaluation.categories import classes_of_folder

        self.predictor, self.folder, self.draws = predictor, folder, draws
        self.mapping, self.vocabulary = classes_of_folder(folder, vocabulary, ignore_unmapped=True)
        self.random = np.random.default_rng(seed)
        self.counts: dict[Key, dict[int, np.ndarray]] = {}  # by photo: numerator and denominator
        self.classes: dict[int, set[int]] = {count: set() for count in COUNTS}  # those evaluated at least once
        self.examples = self._examples()

    def truth(self, place: int) -> "Truth":
        from eovseg.evaluation.categories import load_truth

        return load_truth(self.folder, self.folder.photos[place], self.mapping, self.vocabulary.is_thing)

    def _examples(self) -> list[Example]:
        """Up to `max(COUNTS)` masks per photo of every unseen class that occurs in at least two photos."""
        from eovseg.examples import directions

        seen = self.predictor.seen(self.vocabulary)
        regions = [
            {
                c: [i for i in truth.regions() if truth.classes[i] == c][: max(COUNTS)]
                for c in set(truth.classes.values())
            }
            for truth in map(self.truth, range(len(self.folder.photos)))
        ]
        photos_of = {c: sum(bool(own.get(c)) for own in regions) for c in np.flatnonzero(~seen).tolist()}
        found = []
        for place, own in enumerate(regions):
            ids = [i for c, listed in own.items() if photos_of.get(c, 0) > 1 for i in listed]
            if not ids:
                continue
            truth = self.truth(place)
            state = self.predictor.encode_image(self.folder.load_image(self.folder.photos[place]), keep=False)
            rows = directions(self.predictor, state, truth.masks(ids))
            found += [Example(place, truth.classes[i], row) for i, row in zip(ids, rows, strict=True)]
        return found

    def drawn(self, count: int, test: int) -> dict[int, np.ndarray]:
        """Random directions (count, D) for each class with at least `count` examples on photos other than `test`."""
        chosen: dict[int, np.ndarray] = {}
        for index in sorted({example.class_index for example in self.examples}):
            by_photo: dict[int, list[np.ndarray]] = {}
            for example in self.examples:
                if example.class_index == index and example.photo != test:
                    by_photo.setdefault(example.photo, []).append(example.row)
            if sum(map(len, by_photo.values())) < count:
                continue
            order = self.random.permutation(sorted(by_photo)).tolist()
            mixed = {photo: self.random.permutation(len(by_photo[photo])).tolist() for photo in order}
            turns = [(turn, photo) for turn in range(max(COUNTS)) for photo in order if turn < len(by_photo[photo])]
            chosen[index] = np.stack([by_photo[photo][mixed[photo][turn]] for turn, photo in turns[:count]])
        return chosen

    def words(self, rows: Mapping[int, np.ndarray]) -> "Vocabulary":
        """The vocabulary with some classes replaced by words by example."""
        from eovseg.examples import word_of
        from eovseg.vocabulary import Vocabulary

        classes = list(self.vocabulary.classes)
        for index, row in rows.items():
            entry = classes[index]
            word = word_of(self.predictor, entry.label, entry.is_thing, row)
            classes[index] = replace(entry, names=(entry.label,), examples=(word,))
        return Vocabulary(tuple(classes))

    def photo(self, place: int) -> None:
        """Evaluates one photo, if it has a class with examples on other photos."""
        truth = self.truth(place)
        ids = truth.regions()
        labels = np.array([truth.classes[i] for i in ids])
        elsewhere = {example.class_index for example in self.examples if example.photo != place}
        if not elsewhere & set(labels.tolist()):
            return
        predictor = self.predictor
        state = predictor.encode_image(self.folder.load_image(self.folder.photos[place]), keep=False)
        plain = predictor.decode(state, self.vocabulary)
        words_alone, plain_result = self._named(plain, truth, ids), predictor.compose(plain)
        for count in COUNTS:
            for draw in range(self.draws):
                rows = self.drawn(count, place)
                present = sorted(set(labels.tolist()) & set(rows))
                if not present:
                    break
                self.classes[count] |= set(present)
                lists = {"examples": rows} | ({"shuffled": _shuffled(rows, self.random)} if len(rows) > 1 else {})
                scopes = [("one", [index]) for index in present] + [("all", list(rows))] * (count == DEFAULT_COUNT)
                for scope, chosen in scopes:
                    self._add(place, scope, count, "word", words_alone, labels, chosen)
                    for condition, given in lists.items():
                        words = self.words({index: given[index] for index in chosen})
                        named = self._named(replace(plain, vocabulary=words), truth, ids)
                        self._add(place, scope, count, condition, named, labels, chosen)
                if draw == 0 and count == DEFAULT_COUNT:
                    tried = predictor.compose(predictor.decode(state, self.words(rows)))
                    for condition, result in (("word", plain_result), ("examples", tried)):
                        self._panoptic(place, result, truth, count, condition, list(rows))

    def _named(self, decoded: "Decoded", truth: "Truth", ids: Sequence[int]) -> np.ndarray:
        """The class of each true region by each classifier: (classifiers, regions)."""
        from eovseg.evaluation.true_masks import masks_on_grid, true_mask_scores

        rule = self.predictor.config
        grid = masks_on_grid(truth.masks(ids), decoded.state.features)
        scores = true_mask_scores(self.predictor, decoded, grid, rule.alpha, rule.beta, rule.ensemble)
        return np.stack([scores[name].argmax(1) for name in CLASSIFIERS])

    def _panoptic(
        self, place: int, result: "Result", truth: "Truth", count: int, condition: str, classes: Sequence[int]
    ) -> None:
        from eovseg.evaluation.panoptic_quality import PanopticQuality

        quality = PanopticQuality(self.vocabulary.is_thing)
        predicted = {segment.id: segment.class_id for segment in result.segments}
        quality.add(result.segment_map, predicted, truth.segment_map, truth.classes, truth.crowd)
        state = quality.state()
        iou, (hit, wrong, missed) = state["iou_sum"][classes].sum(), state["counts"][:, classes].sum(1)
        self._count(("panoptic recall", "all", count, condition), place, hit, hit + missed)
        self._count(("panoptic quality", "all", count, condition), place, iou, hit + (wrong + missed) / 2)

    def _add(
        self,
        place: int,
        scope: str,
        count: int,
        condition: str,
        named: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[int],
    ) -> None:
        own = np.isin(labels, classes)
        for name, row in zip(CLASSIFIERS, named, strict=True):
            right, taken = row == labels, np.isin(row, classes)
            for figure, hits, among in (
                ("top-1, own", right, own),
                ("top-1, rest", right, ~own),
                ("taken", taken, ~own),
            ):
                self._count((f"{name} {figure}", scope, count, condition), place, hits[among].sum(), among.sum())

    def _count(self, key: Key, place: int, numerator: float, denominator: float) -> None:
        kept = self.counts.setdefault(key, {})
        kept[place] = kept.get(place, np.zeros(2)) + np.array([numerator, denominator], dtype=np.float64)

    def table(self) -> Iterator[dict[str, Any]]:
        """One row per figure, scope, number of examples and condition."""
        figures = ("top-1, own", "top-1, rest", "taken")
        order = [f"{name} {figure}" for figure in figures for name in CLASSIFIERS[::-1]] + list(PANOPTIC)
        for key in sorted(self.counts, key=lambda k: (order.index(k[0]), k[1], k[2], "wes".index(k[3][0]))):
            figure, scope, count, condition = key
            word = self.counts[figure, scope, count, "word"]
            photos = [place for place in sorted(word) if place in self.counts[key]]
            pairs = [np.array([kept[place] for place in photos]) for kept in (self.counts[key], word)]
            value, compared = (_ratios(pair) for pair in pairs)
            low, high = interval(value[1:], value[0])
            gain = value - compared if condition != "word" else np.full_like(value, np.nan)
            shuffled = self.counts.get((figure, scope, count, "shuffled"), {}) if condition == "examples" else {}
            common = shuffled.keys() >= set(photos)
            over = value - _ratios(np.array([shuffled[place] for place in photos])) if common else gain * np.nan
            repeats = 1 if figure in PANOPTIC else self.draws
            yield (
                {
                    "figure": figure,
                    "scope": scope,
                    "examples": count,
                    "condition": condition,
                    "classes": len(self.classes[count]),
                    "photos": len(photos),
                    "regions": round(float(pairs[0][:, 1].sum()) / repeats, 1),
                    "percent": _rounded(value[0]),
                    "low": _rounded(low),
                    "high": _rounded(high),
                }
                | _difference("gain", gain)
                | _difference("over", over)
            )


def _shuffled(rows: Mapping[int, np.ndarray], random: np.random.Generator) -> dict[int, np.ndarray]:
    """Assigns the examples of each class to another class."""
    order = random.permutation(list(rows)).tolist()
    return {index: rows[other] for index, other in zip(order, [*order[1:], order[0]], strict=True)}


def _ratios(pairs: np.ndarray) -> np.ndarray:
    """Sum of numerators / sum of denominators (photos, 2) for every draw of photos; the first has each photo once."""
    drawn = draws_of(len(pairs)) @ pairs
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: np.ndarray = drawn[:, 0] / drawn[:, 1]
    return ratios


def _difference(name: str, draws: np.ndarray) -> dict[str, float | str]:
    """A difference and its interval, from its value on all photos and on every draw; empty where it is not defined."""
    low, high = interval(draws[1:], draws[0])
    return {name: _rounded(draws[0]), f"{name}_low": _rounded(low), f"{name}_high": _rounded(high)}


def _rounded(value: float) -> float | str:
    return round(100 * float(value), 1) if np.isfinite(value) else ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a comparison."""
    parser.add_argument("data", type=Path, metavar="FOLDER", help="COCO panoptic folder of labelled photos")
    parser.add_argument("-v", "--vocabulary", required=True, help="preset or vocabulary file")
    parser.add_argument("--draws", type=int, default=3, help="how often examples are drawn for each photo (3)")
    parser.add_argument("--limit", type=int, help="evaluate only the first N photos; examples come from all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the CSV file to write")
    add_model_options(parser)


def run(options: argparse.Namespace) -> None:
    """Runs the comparison, prints the table and writes it; raises subclasses of `EovsegError`."""
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.evaluation.report import csv_text

    if options.draws < 1:
        raise ConfigError(f"--draws must be at least 1, not {options.draws}.")
    folder = PanopticFolder(options.data)
    comparison = ExampleComparison(chosen_model(options), folder, read_words(options.vocabulary), options.draws)
    if not comparison.examples:
        raise DataError(f"No unseen class of {folder.name} occurs in two photos; use more photos.")
    for place in tqdm(range(len(folder.photos[: options.limit])), unit="photo", disable=None):
        comparison.photo(place)
    rows = list(comparison.table())
    for row in rows:
        print("  ".join(str(value) for value in row.values()))
    if options.out:
        write_atomically(options.out, csv_text(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m eovseg.evaluation.by_example`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m eovseg.evaluation.by_example",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
