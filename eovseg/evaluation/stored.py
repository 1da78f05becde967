"""`python -m eovseg.evaluation.stored FOLDER`: a report counted again from the counts beside it, or compared with
another report of the same photos."""

import argparse
import json
import math
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eovseg.errors import DataError, any_encoding, exit_code
from eovseg.evaluation.cost import Cost
from eovseg.evaluation.counts import COUNTS_FILE, Counts, read_photo_counts
from eovseg.evaluation.figures import average_precision, differences
from eovseg.evaluation.instances import InstanceReport
from eovseg.evaluation.origin import Origin
from eovseg.evaluation.report import Report, csv_text
from eovseg.whole_files import write_whole

_HEADER = ("data", "variant", "vocabulary", "settings")


def read_report(folder: Path) -> Report:
    """A report that `Report.save` wrote, its figures counted again from the counts of its photos.

    What no count tells is read as it was written: cost, and AP by class and size. Raises `DataError` where a file is
    missing or unreadable, as for reports from before the counts were kept.
    """
    path = folder / "report.json"
    if not (folder / COUNTS_FILE).is_file():
        raise DataError(f"{folder} holds no {COUNTS_FILE}; give the folder of a report, and write older ones again.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        flags = {name: np.array(document[name], dtype=bool) for name in ("is_thing", "seen")}
        header: dict[str, Any] = {name: document[name] for name in _HEADER}
        header |= {name: tuple(document[name]) for name in ("labels", "notes")}
        cost, origin, instance = (document[name] for name in ("cost", "origin", "instance"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no report of this version; evaluate the model again.") from error
    counts = Counts(read_photo_counts(folder / COUNTS_FILE), **flags)
    if instance is not None:
        header["instance"] = _instance(instance, counts)
    if cost is not None:
        header["cost"] = Cost(**cost | {"image_size": tuple(cost["image_size"])})
    if origin is not None:
        header["origin"] = Origin(**origin)
    return Report.of(counts, **header)


def _instance(stored: dict[str, Any], counts: Counts) -> InstanceReport:
    numbers: dict[str, Any] = {name: math.nan if value is None else value for name, value in stored.items()}
    numbers["per_class"] = np.array(stored["per_class"], dtype=np.float64)
    photos = [photo.instance or [] for photo in counts.photos]
    found = average_precision(photos, np.ones((1, len(photos)), dtype=np.int64))
    numbers |= {name: float(found[name.upper()][0]) for name in ("ap", "ap50", "ap75")}
    return InstanceReport(**numbers)


def check_same(report: Report, photos: Collection[str], labels: Sequence[str]) -> None:
    """Raise `DataError` where a report is not of these photos (file names) and classes."""
    assert report.counts is not None
    known = {photo.photo for photo in report.counts.photos}
    if known != set(photos):
        raise DataError(
            f"The report to compare with is of {len(known)} photos, {len(known & set(photos))} of them among the "
            f"{len(photos)} here; both must be of the same photos."
        )
    if report.labels != tuple(labels):
        raise DataError(
            f"The report to compare with has {len(report.labels)} classes ({report.vocabulary}) and this one "
            f"{len(labels)}; both must be of the same classes in the same order."
        )


def compare(here: Report, there: Report) -> list[dict[str, Any]]:
    """A row for each figure that both reports have: here, there, their difference, and its paired 95 % interval.

    Raises `DataError` where photos or classes differ.
    """
    assert here.counts is not None and there.counts is not None
    names = [photo.photo for photo in here.counts.photos]
    check_same(there, names, here.labels)
    if (here.is_thing != there.is_thing).any():
        raise DataError("Thing and stuff differ between the two reports; both must be of the same classes.")
    rows = differences(here.counts, there.counts.of_photos(names))
    columns = ("here", "there", "difference", "low", "high")
    return [{"metric": name, **dict(zip(columns, row, strict=True))} for name, row in rows.items()]


def comparison_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `compare` as aligned plain text; figures without a value are left out."""
    shown = [row for row in rows if math.isfinite(row["difference"])]
    width = max([len(row["metric"]) for row in shown], default=0)
    lines = [f"{'':{width}}  {'here':>8}  {'there':>8}  {'difference':>10}  {'95 % interval':>15}"]
    for row in shown:
        spread = f"[{row['low']:+.1f}, {row['high']:+.1f}]" if math.isfinite(row["low"]) else ""
        numbers = f"{row['here']:8.1f}  {row['there']:8.1f}  {row['difference']:+10.1f}"
        lines.append(f"{row['metric']:{width}}  {numbers}  {spread:>15}".rstrip())
    return "\n".join(lines)


def show_comparison(here: Report, there: Report, out: Path | None = None) -> None:
    """Print how `here` differs from `there`, and write against.csv into `out`."""
    rows = compare(here, there)
    print(comparison_table(rows))
    if out:
        path = out / "against.csv"
        write_whole(path, csv_text(rows))
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the command; errors that a person can act on are printed as one sentence."""
    any_encoding()
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation.stored", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder that `eovseg evaluate --out` wrote")
    parser.add_argument("--against", type=Path, metavar="REPORT", help="folder of another report of the same photos")
    options = parser.parse_args(argv)

    def show() -> None:
        report = read_report(options.folder)
        if options.against:
            show_comparison(report, read_report(options.against))
            return
        text, written = report.table(), options.folder / "report.txt"
        print(text)
        if not written.is_file() or written.read_text(encoding="utf-8") != text + "\n":
            raise DataError(f"{written} is missing or differs from what the counts give, which is printed here.")

    return exit_code(show)


if __name__ == "__main__":
    sys.exit(main())
