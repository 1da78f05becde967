"""Numbers that this project measured and stores in assets/evaluation, as table rows next to the paper's numbers."""

import csv
from collections.abc import Mapping

from eovseg.assets import asset_path
from eovseg.evaluation.paper import TABLE_10

ABLATION_COLUMNS = ("fusion", "VAS", "seed", "PQ", "mIoU", "PQ gain", "by fusion", "by VAS", "paper's PQ (L)")
Mixture = tuple[float, float, str]  # alpha, beta and ensemble


def ablation_rows() -> list[tuple[str, ...]]:
    """A small version of Table 4: a row of `ABLATION_COLUMNS` for each network of xs-ablations.csv, in percent.

    The gains in PQ are over the networks of the same seed without VAS and fusion, without fusion, and without VAS.
    """
    return [
        (
            row["fusion"],
            "yes" if row["VAS"] == "True" else "no",
            row["seed"],
            *(f"{float(row[name]):.1f}" for name in ("PQ", "mIoU")),
            *(gain_text(row, name) for name in ("PQ gain", "PQ gain by fusion", "PQ gain by VAS")),
            row["paper PQ"] or "–",
        )
        for row in _records("xs-ablations.csv")
    ]


def gain_text(row: Mapping[str, str], name: str) -> str:
    """A gain of xs-ablations.csv with its interval, such as +2.0 [-0.1, +4.0]; a dash if it has none."""
    numbers = [float(row[name + bound]) for bound in ("", " low", " high") if row[name + bound]]
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*numbers) if numbers else "–"


def table_10_values() -> dict[Mixture, float]:
    """PQ in percent of XS on its 82 validation photos for every setting of Table 10."""
    rows = _records("xs-table-10/sweep.csv")
    return {(float(row["alpha"]), float(row["beta"]), row["ensemble"]): float(row["PQ"]) for row in rows}


def table_10_rows(*measured: Mapping[Mixture, float]) -> list[tuple[str, ...]]:
    """One row for each (alpha, beta) of Table 10: alpha, beta, the arithmetic and geometric PQ of each of `measured`,
    then those of the paper."""
    rows = []
    for (alpha, beta), paper in TABLE_10.items():
        ours = [values[alpha, beta, kind] for values in measured for kind in ("arithmetic", "geometric")]
        rows.append((f"{alpha}", f"{beta}", *(f"{value:.1f}" for value in (*ours, *paper))))
    return rows


def _records(name: str) -> list[dict[str, str]]:
    with asset_path(f"evaluation/{name}").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
