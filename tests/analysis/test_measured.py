"""Kept measurements stand beside the paper's numbers, each in its own column."""

import csv

import pytest

from analysis.measured import ABLATION_COLUMNS, ablation_rows, table_10_rows, table_10_values
from analysis.paper import TABLE_4_PQ, TABLE_10_PQ
from eovseg.assets import asset_path


def test_each_network_stands_beside_its_own_row_of_the_paper() -> None:
    rows = ablation_rows()
    assert {row[:2] for row in rows} == {("no", "no"), ("no", "yes"), ("yes", "no"), ("yes", "yes")}
    for tdee, vas, _, _, _, paper in rows:
        assert float(paper) == TABLE_4_PQ["TDEE" if tdee == "yes" else "none"][vas == "yes"]
    assert all(len(row) == len(ABLATION_COLUMNS) for row in rows)
    assert ("no", "no", "0", "3.8", "13.2", "22.1") in rows and ("no", "yes", "1", "5.7", "16.3", "22.7") in rows


def test_table_10_keeps_its_columns_apart() -> None:
    mixtures = [(*pair, kind) for pair in TABLE_10_PQ for kind in ("arithmetic", "geometric")]
    first, second = dict.fromkeys(mixtures, 1.0), {mixture: 2.0 + (mixture[2] == "geometric") for mixture in mixtures}
    rows = table_10_rows(first, second)
    assert rows[3] == ("0.4", "0.8", "1.0", "1.0", "2.0", "3.0", "23.4", "24.5")
    kept = table_10_values()
    assert kept.keys() == set(mixtures)
    with asset_path("evaluation/xs-validation/summary.csv").open(encoding="utf-8") as file:
        whole = {row["metric"]: row["value"] for row in csv.DictReader(file)}
    assert kept[0.4, 0.8, "geometric"] == pytest.approx(float(whole["PQ"]), abs=0.01)
    # each classifier alone, whatever the kind of mixture
    for alone in (0.0, 1.0):
        assert kept[alone, alone, "arithmetic"] == kept[alone, alone, "geometric"]
