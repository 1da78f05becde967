"""Comparison of words by example with words: drawn examples and counted regions, with an untrained XS."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation import by_example
from eovseg.evaluation.by_example import ExampleComparison, main
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.vocabulary import Vocabulary

WORDS = "person: thing; sky, clouds: stuff; lamp: thing; zebra: thing"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    network = EOVSeg(variant_config("xs").with_changes(queries=8, short_side=64, void_threshold=1.0))
    return Predictor(network, ["zebra"], device=torch.device("cpu"), text_weights="untrained")


@pytest.fixture
def comparison(predictor: Predictor, panoptic_folder: Path) -> ExampleComparison:
    return ExampleComparison(predictor, PanopticFolder(panoptic_folder), Vocabulary.parse(WORDS), draws=2)


def test_examples_never_come_from_the_evaluated_photo(comparison: ExampleComparison) -> None:
    assert {example.photo for example in comparison.examples} == {0, 1}
    for test in (0, 1):
        for index, rows in comparison.drawn(1, test).items():
            others = [e.row for e in comparison.examples if e.class_index == index and e.photo != test]
            assert len(rows) == 1 and any(np.array_equal(rows[0], row) for row in others)
    assert not comparison.drawn(5, 0), "no class has five masks on the other photo"
    assert np.array_equal(comparison.vocabulary.seen(["zebra"]), [False, False, False, True])


def test_words_by_example_replace_words(comparison: ExampleComparison) -> None:
    rows = comparison.drawn(1, 0)
    words = comparison.words(rows)
    assert words.labels == comparison.vocabulary.labels and sorted(words.examples) and len(words.examples) == len(rows)
    mixed = by_example._shuffled(rows, np.random.default_rng(0))
    assert mixed.keys() == rows.keys() and all(mixed[index] is not rows[index] for index in rows)


def test_the_table_compares_lists_on_the_same_regions(comparison: ExampleComparison) -> None:
    for place in (0, 1):
        comparison.photo(place)
    rows = list(comparison.table())
    chosen = {(r["figure"], r["scope"], r["examples"], r["condition"]): r for r in rows}
    for figure, regions in (("top-1, own", 3), ("top-1, rest", 6), ("taken", 6)):  # of three, for each of three classes
        for name in ("ensemble", "out-of-vocabulary", "in-vocabulary"):
            kinds = (chosen[f"{name} {figure}", "one", 1, kind] for kind in ("word", "examples", "shuffled"))
            word, examples, shuffled = kinds
            assert word["regions"] == examples["regions"] == shuffled["regions"] == 2 * regions
            assert word["gain"] == word["over"] == shuffled["over"] == ""
            assert examples["over"] == pytest.approx(examples["percent"] - shuffled["percent"], abs=0.11)
            assert examples["gain"] == pytest.approx(examples["percent"] - word["percent"], abs=0.11)
            assert 0 <= examples["percent"] <= 100
    assert not any(r["examples"] > 1 for r in rows), "no class has three masks on the other photo"


def test_the_command_writes_the_table(
    predictor: Predictor, panoptic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(by_example, "chosen_model", lambda options: predictor)
    words = tmp_path / "words.txt"
    words.write_text(WORDS)
    call = [str(panoptic_folder), "-v", str(words), "--draws", "1", "--out", str(tmp_path / "out.csv")]
    assert main([*call, "--limit", "1"]) == 0
    with (tmp_path / "out.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["photos"] for row in table} == {"1"} and table[0].keys() >= {"percent", "low", "high", "gain"}
    assert main([*call, "--draws", "0"]) == 1 and "--draws must be at least 1" in capsys.readouterr().err
    monkeypatch.setattr(predictor, "training_words", ("person", "sky", "lamp"))
    assert main(call) == 1 and "No unseen class" in capsys.readouterr().err
