"""Panoptic results with short lists, with a fake network that always names a photo's stripes in the same way."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.evaluation.categories import classes_of_folder
from eovseg.evaluation.short_lists import lists_of, measure
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("person; sky: stuff; clouds: stuff; lamp; bear; dog; cat; bus; zebra; cup; car; boat; bird")
TRUE = ("person", "", "sky", "clouds", "lamp")  # of the stripes; the second is a crowd


class Fake:
    """Finds the true stripes whose word is in the list or, if there is none, names all of the photo by the first."""

    def encode_image(self, image: np.ndarray, keep: bool) -> np.ndarray:
        return image

    def decode(self, image: np.ndarray, words: Vocabulary) -> list[str]:
        return list(words.labels)

    def compose(self, labels: list[str]) -> Any:
        ids = np.tile(np.repeat(np.arange(1, 7), 2), (8, 1))
        known = [number for number, word in enumerate(TRUE, 1) if word in labels]
        if known:
            segments = [SimpleNamespace(id=number, class_id=labels.index(TRUE[number - 1])) for number in known]
            return SimpleNamespace(segment_map=np.where(np.isin(ids, known), ids, 0), segments=segments)
        return SimpleNamespace(segment_map=np.ones_like(ids), segments=[SimpleNamespace(id=1, class_id=0)])


def test_figures_of_a_network_that_finds_what_is_listed(panoptic_folder: Path) -> None:
    fake, folder = Fake(), PanopticFolder(panoptic_folder)
    rows = {row["words"]: row for row in measure(fake, folder, *classes_of_folder(folder, WORDS))}
    for kind in ("all", "own", "own and three times as many others"):
        assert rows[kind]["PQ"] == rows[kind]["large regions"] == rows[kind]["photos"] == 100
        assert rows[kind]["wrong segments"] == 0 and rows[kind]["named"] == pytest.approx(400 / 6, abs=0.1)
    assert rows["largest"]["PQ"] == rows["largest and three others"]["PQ"] == 100, "unlisted classes are not missed"
    assert rows["largest"]["named"] == pytest.approx(100 / 6, abs=0.1)
    absent = rows["four others"]
    assert (absent["wrong segments"], absent["named"], absent["large regions"]) == (1, 100, "")


def test_lists_of_a_photo() -> None:
    made = lists_of({3: 0.2, 7: 0.5}, 20, np.random.default_rng(0))
    assert made["all"] == list(range(20)) and made["own"] == [3, 7] and made["largest"] == [7]
    assert len(made["own and three times as many others"]) == 8 and len(made["largest and three others"]) == 4
    assert len(made["four others"]) == 4 and not {3, 7} & set(made["four others"])
