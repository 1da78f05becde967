"""The figures about the presence of words, on manually chosen evidence and on a tiny folder with verified words."""

import json
from pathlib import Path

import numpy as np
import pytest

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation import advice
from eovseg.evaluation.advice_thresholds import presence_row
from eovseg.predictor import Predictor


def test_evidence_that_separates_finds_every_word_without_false_alarms() -> None:
    evidence = [np.array([2.0, 0.0, 0.1]) + 0.01 * number for number in range(20)]
    there = [np.array([True, False, False])] * 20
    row = presence_row(evidence, there)
    assert row["ROC area"] == 1 and row["found at 0.2"] == 1
    assert 0.1 < row["false alarms at 0.2"] < 0.3
    assert presence_row([-own for own in evidence], there)["ROC area"] == 0


def test_words_of_lvis_are_those_that_a_photo_verifies(
    panoptic_folder: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = panoptic_folder / "panoptic.json"
    document = json.loads(path.read_text())
    document["categories"].append({"id": 7, "name": "zebra", "isthing": 1})
    document["annotations"][0]["segments_info"] = document["annotations"][0]["segments_info"][:1]
    document["images"][0]["neg_category_ids"] = [2, 7]
    path.write_text(json.dumps(document))
    monkeypatch.setattr(advice, "presence_row", lambda evidence, there: {"evidence": evidence, "there": there})
    seen, unseen = advice.lvis_rows(predictor, PanopticFolder(panoptic_folder))
    # One photo shows a person, but no sky and no zebra; the other shows a person, the sky, clouds and a lamp.
    assert [own.tolist() for own in seen["there"]] == [[True, False], [True, True]]
    assert [own.tolist() for own in unseen["there"]] == [[False], [True, True]]
    assert [len(own) for own in unseen["evidence"]] == [1, 2]
