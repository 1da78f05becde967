"""The synthetic data set: deterministic, readable by the project's own reader, and learnable."""

from pathlib import Path

import numpy as np
import pytest

from analysis.shapes import SHAPE_WORDS, draw_shapes, write_shapes
from analysis.small_training import read_log, small_trainer, train_in_parts, trained_predictor
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.predictor import Predictor


def test_every_id_has_a_class_and_pixels() -> None:
    picture, ids, classes = draw_shapes(64, np.random.default_rng(3))
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert set(np.unique(ids).tolist()) == set(classes) and {3, 4} <= set(classes.values())


def test_colours_belong_to_classes() -> None:
    picture, ids, classes = draw_shapes(96, np.random.default_rng(0))
    for number, kind in classes.items():
        if kind == 0:  # circles are red
            red, green, blue = picture[ids == number].mean(axis=0)
            assert red > green + 60 and red > blue + 60


def test_folder_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    folders = [PanopticFolder(write_shapes(tmp_path / name, 2, size=48, seed=5)) for name in "ab"]
    for first, second in zip(folders[0].photos, folders[1].photos, strict=True):
        assert np.array_equal(folders[0].load_image(first), folders[1].load_image(second))
        assert np.array_equal(folders[0].load_segment_map(first), folders[1].load_segment_map(second))
    assert [category.name for category in folders[0].categories.values()] == list(SHAPE_WORDS.labels)


@pytest.mark.slow
def test_two_steps_of_training(predictor: Predictor, tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "data", 4, size=64)
    trainer = small_trainer(predictor, root, SHAPE_WORDS, tmp_path / "run", steps=2, batch=2, crop=64)
    parts = list(train_in_parts(trainer, seconds=600))
    assert [record["step"] for record in parts[-1]] == [1, 2] == [record["step"] for record in read_log(trainer.output)]
    after = trained_predictor(trainer, predictor, SHAPE_WORDS)
    assert after.seen(SHAPE_WORDS).all() and not after.network.training
    changed = after.network.vas, predictor.network.vas
    assert changed[0] is not None and changed[1] is not None
    # a copy was trained, not the predictor's own network
    assert not changed[0].guide.weight.equal(changed[1].guide.weight)
