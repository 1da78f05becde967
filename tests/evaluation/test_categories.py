"""Mapping from categories to classes: by name, by COCO's spellings, by id, and by synonym."""

from pathlib import Path

import numpy as np
import pytest

from eovseg.data.panoptic_folder import Category, PanopticFolder
from eovseg.errors import DataError
from eovseg.evaluation.categories import class_of_category, load_truth, preset_of, with_kinds_of
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("person, child: thing; sky, clouds: stuff; dog, puppy: thing; bag, puppy: thing")


def categories(*names: str, things: bool = True) -> dict[int, Category]:
    return {number: Category(number, name, things) for number, name in enumerate(names, 1)}


def test_names_and_synonyms_ignore_case() -> None:
    assert class_of_category(categories("Person", "DOG", "child"), WORDS) == {1: 0, 2: 2, 3: 0}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        pytest.param(categories("person", "zebra", "apple"), "apple, zebra", id="unknown words"),
        pytest.param(categories("person", "puppy"), "puppy", id="a synonym of two classes"),
        pytest.param(categories("person", "clouds"), "clouds", id="a thing is no synonym of stuff"),
    ],
)
def test_unmapped_categories_are_all_named(given: dict[int, Category], missing: str) -> None:
    with pytest.raises(DataError, match=f"of {len(given)} categories have no class in the vocabulary: {missing};"):
        class_of_category(given, WORDS)
    assert class_of_category(given, WORDS, ignore_unmapped=True) == {1: 0}


def test_at_least_one_category_must_be_mapped() -> None:
    with pytest.raises(DataError, match="2 of 2 categories"):
        class_of_category(categories("zebra", "apple"), WORDS, ignore_unmapped=True)


def test_official_coco_names_are_found_by_their_ids() -> None:
    coco = Vocabulary.preset("coco-panoptic-133")
    official = {
        1: Category(1, "person", True),
        3: Category(3, "car", True),
        55: Category(55, "orange", True),
        130: Category(130, "light", False),
        187: Category(187, "sky-other-merged", False),
        199: Category(199, "wall-other-merged", False),
    }
    mapping = class_of_category(official, coco)
    assert [coco.labels[mapping[i]] for i in official] == ["person", "car", "orange fruit", "lamp", "sky", "wall"]


def test_ids_of_another_numbering_are_not_trusted() -> None:
    other = {1: Category(1, "sky", False), 2: Category(2, "car", True), 187: Category(187, "acacia", False)}
    with pytest.raises(DataError, match=r"1 of 3 .*: acacia;"):
        class_of_category(other, Vocabulary.preset("coco-panoptic-133"))


def test_thing_or_stuff_comes_from_the_data_set() -> None:
    folder = {1: Category(1, "sky", True), 2: Category(2, "dog", False)}
    changed = with_kinds_of(WORDS, folder, class_of_category(folder, WORDS))
    assert changed.is_thing.tolist() == [True, True, False, True]
    assert changed.words == WORDS.words
    assert with_kinds_of(WORDS, categories("person"), {1: 0}) is WORDS


def test_the_shipped_vocabulary_is_recognised_regardless_of_kinds() -> None:
    cityscapes = Vocabulary.preset("cityscapes-19")
    everything_a_thing = {i: Category(i, label, True) for i, label in enumerate(cityscapes.labels)}
    mapping = {i: i for i in everything_a_thing}
    assert preset_of(with_kinds_of(cityscapes, everything_a_thing, mapping)) == "cityscapes-19"
    assert preset_of(WORDS) is None


def test_truth_merges_stuff_of_one_class_and_unlabels_the_rest(panoptic_folder: Path) -> None:
    folder = PanopticFolder(panoptic_folder)
    mapping = class_of_category(folder.categories, WORDS, ignore_unmapped=True)
    truth = load_truth(folder, folder.photos[0], mapping, WORDS.is_thing)
    # as drawn: 1 person, 2 crowd of persons, 3 sky, 4 clouds, 5 lamp (in no class)
    assert np.unique(truth.segment_map).tolist() == [0, 1, 2, 3]
    assert truth.classes == {1: 0, 2: 0, 3: 1}
    assert truth.crowd == {2}
    assert truth.class_map().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, -1, -1, -1, -1]] * 8
