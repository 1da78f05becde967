"""`python -m eovseg.evaluation.stored FOLDER`: computes a report again from its counts, or compares it with another
report on the same photos."""

import argparse
import json
import math
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eovseg.atomic_files import write_atomically
from eovseg.errors import DataError, run_command
from eovseg.evaluation.bootstrap import INTERVAL

if TYPE_CHECKING:
    from eovseg.evaluation.counts import PhotoCounts
    from eovseg.evaluation.report import Report

COLUMNS = ("this report", "earlier report")  # of a comparison
_HEADER = ("data", "variant", "vocabulary")
# Errors that reading a damaged or edited file can raise.
_DAMAGES = (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, DataError)


def read_report(folder: Path) -> "Report":
    """A report written by `Report.save`; its figures are computed again from the counts.

    Cost and pycocotools' own numbers cannot be computed from counts and are read. Raises `DataError` if a file is
    missing or damaged, which includes reports of versions that did not save counts.
    """
    from eovseg.evaluation.counts import COUNTS_FILE, read_photo_counts

    path = folder / "report.json"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"The report {folder} {what}; give a report folder written by `eovseg evaluate --out`.")
    if not (folder / COUNTS_FILE).is_file():
        raise DataError(f"{folder} contains no {COUNTS_FILE}; give the folder of a report (older ones lack it).")
    photos = read_photo_counts(folder / COUNTS_FILE)
    try:
        report = _report(json.loads(path.read_text(encoding="utf-8")), photos)
        report.summary(), report.per_class()
    except _DAMAGES as error:
        raise DataError(
            f"{path} is not a report of this version or does not match its {COUNTS_FILE}; evaluate the model again."
        ) from error
    return report


def _report(document: dict[str, Any], photos: "tuple[PhotoCounts, ...]") -> "Report":
    from eovseg.evaluation.average_precision import InstanceReport
    from eovseg.evaluation.cost import Cost
    from eovseg.evaluation.counts import Counts
    from eovseg.evaluation.origin import Origin
    from eovseg.evaluation.report import Report

    header: dict[str, Any] = {name: str(document[name]) for name in _HEADER}
    header |= {name: tuple(map(str, document[name])) for name in ("labels", "notes")}
    flags = {name: np.array(document[name], dtype=bool) for name in ("is_thing", "seen")}
    if {flag.shape for flag in flags.values()} != {(len(header["labels"]),)}:
        raise ValueError("labels and flags differ in number")
    header["settings"] = {  # a calibration is a tuple, but JSON has only lists
        name: tuple(value) if isinstance(value, list) else value for name, value in document["settings"].items()
    }
    header["network"] = dict(document.get("network", {}))
    if (instance := document["instance"]) is not None:
        numbers: dict[str, Any] = {name: math.nan if value is None else value for name, value in instance.items()}
        numbers["per_class"] = np.array(instance["per_class"], dtype=np.float64)
        header["instance"] = InstanceReport(**numbers)
    if (cost := document["cost"]) is not None:
        header["cost"] = Cost(**cost | {"image_size": tuple(cost["image_size"])})
    if (origin := document["origin"]) is not None:
        header["origin"] = Origin(**origin)
    return Report.of(Counts(photos, **flags), **header)


def check_same(report: "Report", photos: Collection[str], labels: Sequence[str], is_thing: np.ndarray) -> None:
    """Raises `DataError` unless a report has these photos (file names) and classes, including thing or stuff."""
    known = {photo.photo for photo in report.counts.photos}
    if known != set(photos):
        raise DataError(
            f"The report to compare with has {len(known)} photos, {len(known & set(photos))} of them among the "
            f"{len(photos)} here; both must have the same photos."
        )
    if report.labels != tuple(labels):
        raise DataError(
            f"The report to compare with has {len(report.labels)} classes ({report.vocabulary}) and this one "
            f"{len(labels)}; both must have the same classes in the same order."
        )
    if (report.is_thing != is_thing).any():
        raise DataError("The two reports differ in which classes are things; both must have the same things and stuff.")


def compare(here: "Report", there: "Report") -> list[dict[str, Any]]:
    """A row for each figure that both reports have: `COLUMNS`, their difference, and its paired 95 % interval.

    Seen and unseen classes are those of `here` in both columns. Raises `DataError` if photos or classes differ.
    """
    from eovseg.evaluation.figures import differences

    names = [photo.photo for photo in here.counts.photos]
    check_same(there, names, here.labels, here.is_thing)
    rows = differences(here.counts, there.counts.of_photos(names))
    columns = (*COLUMNS, "difference", "low", "high")
    return [{"metric": name, **dict(zip(columns, row, strict=True))} for name, row in rows.items()]


def comparison_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of `compare` as an aligned plain text table; figures without a value are omitted."""
    shown = [row for row in rows if math.isfinite(row["difference"])]
    width = max([len(row["metric"]) for row in shown], default=0)
    lines = [f"{'':{width}}  {COLUMNS[0]:>11}  {COLUMNS[1]:>14}  {'difference':>10}  {INTERVAL}"]
    for row in shown:
        spread = f"[{row['low']:+.1f}, {row['high']:+.1f}]" if math.isfinite(row["low"]) else ""
        numbers = f"{row[COLUMNS[0]]:11.1f}  {row[COLUMNS[1]]:14.1f}  {row['difference']:+10.1f}"
        lines.append(f"{row['metric']:{width}}  {numbers}  {spread:>{len(INTERVAL)}}".rstrip())
    return "\n".join(lines)


def show_comparison(here: "Report", there: "Report", out: Path | None = None) -> None:
    """Prints how `here` differs from `there`, and writes against.csv into `out`."""
    from eovseg.evaluation.report import csv_text

    rows = compare(here, there)
    print(comparison_table(rows))
    if out:
        path = out / "against.csv"
        write_atomically(path, csv_text(rows))
        print(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation.stored", description=__doc__)
    parser.add_argument("folder", type=Path, help="report folder written by `eovseg evaluate --out`")
    parser.add_argument("--against", type=Path, metavar="REPORT", help="folder of another report on the same photos")

    def show(options: argparse.Namespace) -> None:
        report = read_report(options.folder)
        if options.against:
            show_comparison(report, read_report(options.against))
            return
        text, written = report.table(), options.folder / "report.txt"
        print(text)
        if not written.is_file() or written.read_text(encoding="utf-8", errors="replace") != text + "\n":
            raise DataError(f"{written} is missing or differs from the table above, computed from the counts.")

    return run_command(parser, show, argv)


if __name__ == "__main__":
    sys.exit(main())
