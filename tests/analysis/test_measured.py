"""Stored measurements appear beside the paper's numbers, each in its own column."""

from pathlib import Path

import pytest

from analysis import measured
from analysis.measured import ABLATION_COLUMNS, ablation_rows, table_10_rows, table_10_values
from eovseg.assets import asset_path
from eovseg.evaluation import stored
from eovseg.evaluation.paper import TABLE_4, TABLE_10


def test_each_network_is_beside_its_row_of_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "evaluation" / "xs-ablations.csv"
    table.parent.mkdir()
    gains = [
        f"{name}{bound}"
        for name in ("PQ gain", "PQ gain by fusion", "PQ gain by VAS")
        for bound in ("", " low", " high")
    ]
    lines = [
        ",".join(["fusion,VAS,seed,PQ,mIoU", *gains, "paper PQ"]),
        "TDEE,True,0,1.26,2.34,0.5,-0.12,1.0,,,,2,1,3,24.5",
        "concat,False,1,3.0,4.96,,,,,,,,,,",
    ]
    table.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(measured, "asset_path", tmp_path.joinpath)
    assert ablation_rows() == [
        ("TDEE", "yes", "0", "1.3", "2.3", "+0.5 [-0.1, +1.0]", "–", "+2.0 [+1.0, +3.0]", "24.5"),
        ("concat", "no", "1", "3.0", "5.0", "–", "–", "–", "–"),
    ]


def test_the_stored_table_has_every_network_with_the_papers_number() -> None:
    rows = ablation_rows()
    assert {row[:2] for row in rows} >= {("none", "no"), ("none", "yes"), ("TDEE", "no"), ("TDEE", "yes")}
    for fusion, vas, *_, paper in rows:
        assert float(paper) == TABLE_4[fusion, vas == "yes"][0]
    assert all(len(row) == len(ABLATION_COLUMNS) for row in rows)


def test_table_10_keeps_its_columns_apart() -> None:
    mixtures = [(*pair, kind) for pair in TABLE_10 for kind in ("arithmetic", "geometric")]
    first, second = dict.fromkeys(mixtures, 1.0), {mixture: 2.0 + (mixture[2] == "geometric") for mixture in mixtures}
    rows = table_10_rows(first, second)
    assert rows[3] == ("0.4", "0.8", "1.0", "1.0", "2.0", "3.0", "23.4", "24.5")
    kept = table_10_values()
    assert kept.keys() == set(mixtures)
    report = stored.read_report(asset_path("evaluation/xs-82-photos"))
    own = report.settings["alpha"], report.settings["beta"], report.settings["ensemble"]
    if own in kept:  # the model's own weights need not be among the paper's
        assert kept[own] == pytest.approx(report.summary()["PQ"], abs=0.01)
    # each classifier alone, so the kind of ensemble does not matter
    for alone in (0.0, 1.0):
        assert kept[alone, alone, "arithmetic"] == kept[alone, alone, "geometric"]


def test_the_ablation_card_shows_the_stored_table() -> None:
    card = asset_path("weights/ablations/README.md").read_text(encoding="utf-8")
    for row in ablation_rows():
        assert f"| {' | '.join(row)} |" in card
