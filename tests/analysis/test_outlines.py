"""Hand-drawn outlines name every id, lie on the object in the photo, and use words from the notebooks' list."""

from collections.abc import Sequence

import numpy as np
import pytest

from analysis.outlines import BUS_STREET, PARKED_CAR, Outline, outline_map


@pytest.mark.parametrize(
    ("outlines", "words", "points"),
    [
        (
            BUS_STREET,
            ["sky", "road", "tree", "building", "bus"],
            {"bus": (300, 250), "sky": (300, 5), "road": (300, 420)},
        ),
        (
            PARKED_CAR,
            ["building", "pavement", "road", "car", "person"],
            {
                "car": (150, 260),
                "person": (310, 210),
                "pavement": (550, 390),
                "building": (500, 100),
                "road": (60, 410),
            },
        ),
    ],
)
def test_every_id_has_its_word_where_the_photo_shows_it(
    outlines: Sequence[Outline], words: list[str], points: dict[str, tuple[int, int]]
) -> None:
    ids, names = outline_map(outlines, (425, 640))
    assert ids.shape == (425, 640) and set(np.unique(ids).tolist()) - {0} == set(names)
    assert list(names.values()) == words
    assert {word: names[int(ids[y, x])] for word, (x, y) in points.items()} == {word: word for word in points}
