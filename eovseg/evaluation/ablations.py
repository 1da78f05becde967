"""`python -m eovseg.evaluation.ablations`: Table 4 with our own numbers beside those of the paper.

All weight files are evaluated on the same photos; which parts a file lacks (VAS, spatial extractor) is read from its
header. The gain of a row is relative to the file with the same seed but without VAS and fusion. Its interval, a paired
bootstrap over the photos (`figures.differences`), shows the variation due to the choice of photos. The variation of
training can be seen from files that differ only in the seed.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eovseg.atomic_files import write_atomically
from eovseg.data.panoptic_folder import PanopticFolder, Photo
from eovseg.data.split import validation_photos
from eovseg.errors import run_command
from eovseg.evaluation.paper import TABLE_4
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.evaluation.counts import Counts

_MEASURED = ("PQ", "SQ", "RQ", "mIoU")


def measure(
    path: Path, data: PanopticFolder, photos: Sequence[Photo], vocabulary: Vocabulary
) -> "tuple[dict[str, Any], Counts]":
    """A row with the weight file's properties and its scores in percent on `photos` of `data`, and the photos' counts.

    The seed is taken from a name that ends in `-seed<n>`, else it is 0.
    """
    from eovseg.evaluation.evaluate import evaluate
    from eovseg.loading import load

    predictor = load("xs", path)
    report = evaluate(predictor, data, photos, vocabulary, ("panoptic", "semantic"), extras=("true masks", "cost"))
    found = report.summary()
    seed = re.search(r"-seed(\d+)$", path.stem)
    row = {
        "file": path.name,
        "fusion": predictor.config.fusion,
        "VAS": predictor.config.vas,
        "seed": int(seed[1]) if seed else 0,
        "photos": len(photos),
        **{name: found[name] for name in (*_MEASURED, "PQ things", "PQ stuff", "ensemble top-1 seen")},
        "frames per second": found["FPS"],
        "parameters (M)": found["parameters (M)"],
    }
    return row, report.counts


def with_gains(measured: "Iterable[tuple[dict[str, Any], Counts]]") -> list[dict[str, Any]]:
    """Rows with the gain over the network without VAS and fusion of the same seed, its 95 % interval, and the paper's
    numbers and gains. Gains without such a network are None, and so are intervals for it and for a single photo."""
    measured = list(measured)
    plain = {row["seed"]: (row, counts) for row, counts in measured if row["fusion"] == "none" and not row["VAS"]}
    result = []
    for row, counts in measured:
        base, base_counts = plain.get(row["seed"], (None, None))
        # The paper has no numbers for other fusions.
        paper: tuple[float | None, ...] = TABLE_4.get((row["fusion"], row["VAS"]), (None,) * len(_MEASURED))
        gains: dict[str, float | None] = {}
        for name in _MEASURED:
            gains[f"{name} gain"] = None if base is None else row[name] - base[name]
        gains |= _gain_bounds(counts, None if row is base else base_counts)
        theirs: dict[str, float | None] = {}
        for name, value, start in zip(_MEASURED, paper, TABLE_4["none", False], strict=True):
            theirs |= {f"paper {name}": value, f"paper {name} gain": None if value is None else value - start}
        result.append(row | gains | theirs)
    return result


def _gain_bounds(counts: "Counts", base: "Counts | None") -> dict[str, float | None]:
    """Bounds of the 95 % interval of each gain over `base`, counts of the same photos."""
    from eovseg.evaluation.figures import differences

    rows = {} if base is None else differences(counts, base)
    bounds: dict[str, float | None] = {}
    for name in _MEASURED:
        *_, low, high = rows.get(name, (math.nan, math.nan))
        bounds[f"{name} gain low"] = low if math.isfinite(low) else None
        bounds[f"{name} gain high"] = high if math.isfinite(high) else None
    return bounds


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation.ablations", description=__doc__)
    parser.add_argument("data", type=Path, help="COCO panoptic folder whose validation photos are used")
    parser.add_argument("files", type=Path, nargs="+", help="weight files; -seed<n> at the end of a name is the seed")
    parser.add_argument("--limit", type=int, help="only the first N photos")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write, with a JSON copy beside it")

    def compare(options: argparse.Namespace) -> None:
        from eovseg.evaluation.report import csv_text

        data = PanopticFolder(options.data)
        photos = validation_photos(data)[: options.limit]
        rows: list[tuple[dict[str, Any], Counts]] = []
        for path in options.files:
            rows.append(measure(path, data, photos, Vocabulary.preset("coco-panoptic-133")))
            print(", ".join(f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1][0].items()))
        table = [{k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in with_gains(rows)]
        write_atomically(options.out, csv_text(table))
        write_atomically(options.out.with_suffix(".json"), json.dumps(table, indent=1) + "\n")
        print(options.out)

    return run_command(parser, compare, argv)


if __name__ == "__main__":
    sys.exit(main())
