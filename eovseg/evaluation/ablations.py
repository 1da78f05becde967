"""`python -m eovseg.evaluation.ablations`: Table 4 with our own numbers beside those of the paper.

It combines reports of `eovseg evaluate --out` on the same photos. Each row gives the gain over other networks of the
same seed, if their reports are among them: over the one with neither VAS nor fusion, over the one without the fusion
only ("gain by fusion"), and over the one without VAS only ("gain by VAS"). The intervals of gains, paired bootstraps
over the photos (`figures.differences`), show the variation due to the choice of photos. The variation of training can
be seen from reports that differ only in the seed.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eovseg.atomic_files import write_atomically
from eovseg.errors import DataError, run_command
from eovseg.evaluation.paper import TABLE_4

if TYPE_CHECKING:
    from eovseg.evaluation.report import Report

_MEASURED = ("PQ", "SQ", "RQ", "mIoU")
_Part = tuple[str, bool, int]  # fusion, VAS, seed


def table(reports: "Mapping[str, Report]") -> list[dict[str, Any]]:
    """A row for each report, in percent; the keys are names, whose ending `-seed<n>` gives the seed, else it is 0.

    Gains without a network to compare with are None. Raises `DataError` for a report that does not say which network it
    measured, and if photos or classes differ.
    """
    named: dict[_Part, tuple[str, Report]] = {}
    for name, report in reports.items():
        if not {"fusion", "vas"} <= report.network.keys():
            raise DataError(
                f"The report {name} does not say whether its network has VAS and a fusion; evaluate it again."
            )
        ending = re.search(r"-seed(\d+)$", name)
        part = str(report.network["fusion"]), bool(report.network["vas"]), int(ending[1]) if ending else 0
        if part in named:
            raise DataError(f"The reports {named[part][0]} and {name} are of the same network and seed; omit one.")
        named[part] = name, report
    rows = []
    for (fusion, vas, seed), (name, report) in named.items():
        found = report.summary()
        measured = (*_MEASURED, "PQ things", "PQ stuff", "ensemble top-1 seen", "masks found")
        row: dict[str, Any] = {"network": name, "fusion": fusion, "VAS": vas, "seed": seed, "photos": report.photos}
        row |= {figure: found.get(figure) for figure in measured}
        for base, title, figures in (
            (("none", False, seed), "gain", _MEASURED),
            (("none", vas, seed), "gain by fusion", ("PQ", "mIoU")),
            ((fusion, False, seed), "gain by VAS", ("PQ", "mIoU")),
        ):
            other = named[base][1] if base in named else report
            row |= _gains(report, None if other is report else other, title, figures)
        # The paper has no numbers for other fusions.
        paper = TABLE_4.get((fusion, vas), (None,) * len(_MEASURED))
        row |= {f"paper {figure}": value for figure, value in zip(_MEASURED, paper, strict=True)}
        rows.append(row)
    return rows


def _gains(here: "Report", base: "Report | None", title: str, figures: Sequence[str]) -> dict[str, float | None]:
    """The gain of `here` over `base` in each figure, with the bounds of its 95 % interval."""
    from eovseg.evaluation.stored import compare

    found = {} if base is None else {row["metric"]: row for row in compare(here, base)}
    return {
        f"{figure} {title}{bound}": found[figure][column] if figure in found else None
        for figure in figures
        for bound, column in (("", "difference"), (" low", "low"), (" high", "high"))
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eovseg.evaluation.ablations", description=__doc__)
    parser.add_argument(
        "reports", type=Path, nargs="+", help="report folders; -seed<n> at the end of a name is the seed"
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")

    def combine(options: argparse.Namespace) -> None:
        from eovseg.evaluation.report import csv_text
        from eovseg.evaluation.stored import read_report

        rows = table({folder.name: read_report(folder) for folder in options.reports})
        rows = [{k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        write_atomically(options.out, csv_text(rows))
        print(options.out)

    return run_command(parser, combine, argv)


if __name__ == "__main__":
    sys.exit(main())
