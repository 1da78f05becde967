"""`python -m eovseg.evaluation.short_lists FOLDER --out FILE.csv`: panoptic results with short lists of words.

Visitors type a few words, not all words of a data set. Each photo is segmented with several lists:

- all: the words of COCO's 133 classes
- own: the words of the photo's own classes
- own and three times as many others: the same with random other classes
- largest: the class of the largest region alone
- largest and three others: the same with three random other classes
- four others: four random classes that the photo does not show

The same with the 44 `PLAIN_WORDS` instead of COCO's classes, as they are typed and with synonyms (`names`); COCO's
classes that none of them means are then unlabelled.

`PQ` is the mean over classes, counting only those in each photo's list. `large regions` is the share of the true
regions over a tenth of the photo, of classes in the list, that a segment of the right class covers (IoU above 0.5),
and `photos` the share of the photos where all of them are. `wrong segments` is the number of false positives per photo,
`named` the share of the pixels that get a name. Percentages have 95 % intervals (bootstrap over photos).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from eovseg.atomic_files import write_atomically
from eovseg.command_options import add_model_options, chosen_model
from eovseg.errors import run_command
from eovseg.evaluation.bootstrap import draws_of, interval, share_of

if TYPE_CHECKING:
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.predictor import Predictor
    from eovseg.vocabulary import Vocabulary

LARGE = 0.1  # share of the photo
PLAIN_WORDS = (
    "person; dog; cat; bird; horse; cow; elephant; bear; car; bus; truck; train; motorcycle; bicycle; boat; airplane; "
    "chair; sofa; bed; table; lamp; bottle; plate; food; cup; television; sink; cabinet; window; wall; floor; ceiling; "
    "sky; tree; grass; flower; road; sidewalk; building; water; sand; mountain; snow; fence"
)
_COUNTS = ("iou", "true positives", "false positives", "false negatives")


def lists_of(areas: dict[int, float], classes: int, random: np.random.Generator) -> dict[str, list[int]]:
    """Class indices of each list for a photo whose classes cover the given shares of it."""
    own = sorted(areas)
    others = random.permutation([index for index in range(classes) if index not in areas]).tolist()
    largest = max(own, key=lambda index: areas[index])
    return {
        "all": list(range(classes)),
        "own": own,
        "own and three times as many others": sorted(own + others[: 3 * len(own)]),
        "largest": [largest],
        "largest and three others": sorted([largest, *others[:3]]),
        "four others": sorted(others[:4]),
    }


def measure_all(predictor: "Predictor", folder: "PanopticFolder") -> list[dict[str, Any]]:
    """The rows of COCO's classes and of the plain words; the folder has COCO's classes."""
    from eovseg.evaluation.categories import classes_of_folder, with_kinds_of
    from eovseg.presets import TRAINING_PRESET
    from eovseg.vocabulary import Vocabulary

    mapping, coco = classes_of_folder(folder, Vocabulary.preset(TRAINING_PRESET))
    typed = Vocabulary.parse(PLAIN_WORDS)
    meant = {name: index for index, entry in enumerate(typed.with_synonyms().classes) for name in entry.names}
    plain = {i: meant[coco.labels[index]] for i, index in mapping.items() if coco.labels[index] in meant}
    typed = with_kinds_of(typed, folder.categories, plain)
    rows = [{"names": "COCO"} | row for row in measure(predictor, folder, mapping, coco)]
    for names, words in (("44 as typed", typed), ("44 with synonyms", typed.with_synonyms())):
        rows += [{"names": names} | row for row in measure(predictor, folder, plain, words)]
    return rows


def measure(
    predictor: "Predictor", folder: "PanopticFolder", mapping: dict[int, int], everything: "Vocabulary", seed: int = 0
) -> list[dict[str, Any]]:
    """One row per kind of list; `everything` are all words, `mapping` the class of each of the folder's categories."""
    from eovseg.evaluation.categories import load_truth
    from eovseg.evaluation.panoptic_quality import match_segments
    from eovseg.vocabulary import Vocabulary

    random = np.random.default_rng(seed)
    found: dict[str, list[tuple[np.ndarray, tuple[float, ...]]]] = {}
    for photo in tqdm(folder.photos, unit="photo", disable=None):
        truth = load_truth(folder, photo, mapping, everything.is_thing)
        share = {i: float((truth.segment_map == i).mean()) for i in truth.regions()}
        areas: dict[int, float] = {}
        for i, area in share.items():
            areas[truth.classes[i]] = areas.get(truth.classes[i], 0) + area
        if not areas:
            continue
        state = predictor.encode_image(folder.load_image(photo), keep=False)
        for kind, chosen in lists_of(areas, len(everything), random).items():
            words = Vocabulary(tuple(everything.classes[index] for index in chosen))
            result = predictor.compose(predictor.decode(state, words))
            named = {segment.id: chosen[segment.class_id] for segment in result.segments}
            matching = match_segments(result.segment_map, named, truth.segment_map, truth.classes, truth.crowd)
            counts = np.zeros((len(_COUNTS), len(everything)))
            for match in matching.matches:
                counts[:2, match.class_index] += match.iou, 1
            for wrong in matching.false_positives:
                counts[2, named[wrong]] += 1
            for missed in matching.false_negatives:
                counts[3, truth.classes[missed]] += truth.classes[missed] in chosen
            large = {i for i, area in share.items() if area > LARGE and truth.classes[i] in chosen}
            hit = large & {match.true_id for match in matching.matches}
            pixels = float((result.segment_map > 0).mean())
            figures = (len(hit), len(large), hit == large, len(large) > 0, len(matching.false_positives), pixels)
            found.setdefault(kind, []).append((counts, figures))
    return [_row(kind, [c for c, _ in own], np.array([f for _, f in own])) for kind, own in found.items()]


def _row(kind: str, counts: Sequence[np.ndarray], figures: np.ndarray) -> dict[str, Any]:
    from eovseg.evaluation.means import class_mean
    from eovseg.evaluation.panoptic_quality import class_scores

    sums = np.tensordot(draws_of(len(counts)), np.stack(counts), axes=1)  # (draws, 4, K)
    pq = np.array([class_mean(class_scores(*draw)[0]) for draw in sums])
    one = np.ones(len(counts))
    hit, large, right, has_large, wrong, pixels = figures.T
    shares = {
        "PQ": (float(pq[0]), *interval(pq[1:], float(pq[0]))),
        "large regions": share_of(hit, large),
        "photos": share_of(right * has_large, has_large),
        "named": share_of(pixels, one),
    }
    row: dict[str, Any] = {"words": kind, "photos counted": len(counts), "wrong segments": round(wrong.mean(), 2)}
    for name, values in shares.items():
        if np.isfinite(values[0]):
            row |= {f"{name}{end}": round(100 * v, 1) for end, v in zip(("", " low", " high"), values, strict=True)}
        else:
            row |= {f"{name}{end}": "" for end in ("", " low", " high")}
    return row


def run(options: argparse.Namespace) -> None:
    """Measures, prints the table and writes it with the weights that it belongs to."""
    from eovseg.checkpoints import default_checkpoint
    from eovseg.data.panoptic_folder import PanopticFolder
    from eovseg.evaluation.origin import Origin
    from eovseg.evaluation.report import csv_text

    predictor = chosen_model(options)
    origin = Origin.of(options.checkpoint or default_checkpoint(predictor.config.variant))
    rows = [row | {"sha256": origin.sha256} for row in measure_all(predictor, PanopticFolder(options.data))]
    for row in rows:
        print("  ".join(str(value) for value in row.values()))
    write_atomically(options.out, csv_text(rows))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m eovseg.evaluation.short_lists",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, metavar="FOLDER", help="folder with COCO's classes, panoptic labels")
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the CSV file to write")
    add_model_options(parser)
    return run_command(parser, run, argv)


if __name__ == "__main__":
    sys.exit(main())
