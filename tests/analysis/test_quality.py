"""Tables of panoptic quality, compared with counts made by hand."""

import numpy as np

from analysis.quality import CLASS_COLUMNS, MATCH_COLUMNS, class_rows, matching_rows
from eovseg.evaluation.panoptic_quality import PanopticQuality

TRUTH = np.array([[2, 2, 2, 2, 3, 3, 0, 0], [1, 1, 1, 1, 3, 3, 0, 0]])
PREDICTED = np.array([[2, 2, 2, 2, 2, 2, 5, 5], [1, 1, 1, 4, 0, 0, 5, 5]])
LABELS = ("cat", "dog", "sky", "tree")


def test_tables_by_hand() -> None:
    quality = PanopticQuality(np.array([True, True, False, False]))
    matching = quality.add(PREDICTED, {1: 0, 2: 2, 4: 1, 5: 1}, TRUTH, {1: 0, 2: 2, 3: 1})
    predicted = {1: "cat", 2: "sky", 4: "dog 1", 5: "dog 2"}
    rows = matching_rows(matching, predicted, {1: "cat", 2: "sky", 3: "dog"})
    assert sorted(rows) == sorted([
        ("cat", "cat", "0.75", "true positive"),
        ("sky", "sky", "0.67", "true positive"),
        ("dog 1", "–", "–", "false positive"),
        ("–", "dog", "–", "false negative"),
        ("dog 2", "–", "–", "ignored: mostly unlabelled"),
    ])  # fmt: skip
    assert all(len(row) == len(MATCH_COLUMNS) for row in rows)
    table = class_rows(quality.compute(), LABELS)
    assert table == [
        ("cat", "1", "0", "0", "75.0", "100.0", "75.0"),
        ("dog", "0", "1", "1", "0.0", "0.0", "0.0"),
        ("sky", "1", "0", "0", "66.7", "100.0", "66.7"),
        ("mean", "", "", "", "47.2", "66.7", "47.2"),
    ]
    assert all(len(row) == len(CLASS_COLUMNS) for row in table)


def test_nothing_counted_gives_no_rows() -> None:
    assert class_rows(PanopticQuality(np.array([True])).compute(), ("cat",)) == []
