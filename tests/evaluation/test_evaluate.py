"""Evaluation and sweep on drawn photos, with a predictor that reads the answer from the photo."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from eovseg.choices import Task
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import ConfigError, DataError
from eovseg.evaluation.evaluate import Evaluator, evaluate
from eovseg.evaluation.sweep import best_setting, ensemble_grid, sweep, threshold_grid
from eovseg.model.config import ModelConfig, variant_config
from eovseg.result import Result
from eovseg.segmented import Segment
from eovseg.settings import Settings
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("person: thing; sky, clouds: stuff; lamp: thing; zebra: thing")
# Class of each id in the drawn photos (see conftest): person, crowd of persons, sky, clouds, lamp.
CLASS_OF_ID = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2}


@dataclass
class OracleState:
    ids: np.ndarray


@dataclass
class OraclePredictor:
    """Returns the truth, because the photo's brightness is 40 x id; without the lamp for score thresholds above 0.5."""

    config: ModelConfig = field(default_factory=lambda: variant_config("xs"))
    network_calls: int = 0

    def seen(self, vocabulary: Vocabulary) -> np.ndarray:
        return vocabulary.seen(["person", "sky"])

    def encode_image(self, image: np.ndarray) -> OracleState:
        self.network_calls += 1
        return OracleState(image[..., 0] // 40)

    def decode(self, state: OracleState, vocabulary: Vocabulary) -> tuple[np.ndarray, Vocabulary]:
        self.network_calls += 1
        return state.ids, vocabulary

    def compose(self, decoded: tuple[np.ndarray, Vocabulary], *, settings: Settings) -> Result:
        ids, vocabulary = decoded
        classes = np.full(256, -1)
        classes[list(CLASS_OF_ID)] = list(CLASS_OF_ID.values())
        class_map = classes[ids]
        if settings.score_threshold > 0.5:
            class_map[class_map == 2] = -1
        present = [int(c) for c in np.unique(class_map) if c >= 0]
        segment_map = (class_map + 1).astype(np.int32)
        masks = np.array([class_map == c for c in present])
        segments = tuple(
            Segment(c + 1, c, vocabulary.labels[c], bool(vocabulary.is_thing[c]), 0.9, 0.9, 0.9, 1, (0, 0, 1, 1))
            for c in present
        )
        image = np.zeros((*ids.shape, 3), dtype=np.uint8)
        task = settings.task
        return Result(image, segment_map, segments, vocabulary, task, {}, masks if task == "instance" else None)


@pytest.fixture
def folder(panoptic_folder: Path) -> PanopticFolder:
    return PanopticFolder(panoptic_folder)


def test_true_answers_get_full_scores(folder: PanopticFolder) -> None:
    predictor, steps = OraclePredictor(), []
    report = evaluate(predictor, folder, folder.photos, WORDS, progress=lambda *step: steps.append(step))
    assert report.panoptic is not None
    assert report.semantic is not None
    assert report.instance is not None
    # The oracle's "person" covers person and crowd. With IoU 0.5, it does not match, and half crowd is not ignored.
    assert report.panoptic.pq == pytest.approx([0, 1, 1, np.nan], nan_ok=True)
    assert (report.semantic.miou, report.semantic.pixel_accuracy) == (1.0, 1.0)
    assert report.semantic.classes == 3
    assert report.instance.per_class[2] == pytest.approx(1.0)
    assert report.panoptic.seen is not None
    assert (report.panoptic.seen.pq, report.panoptic.seen.classes) == (0.5, 2)
    assert report.photos == 2
    assert steps == [(1, 2), (2, 2)]
    assert predictor.network_calls == 4
    assert report.reliability is not None
    assert report.reliability.count.sum() == 6
    assert report.reliability.accuracy[9] == pytest.approx(4 / 6)


def test_unmapped_categories_are_refused_unless_ignored(folder: PanopticFolder) -> None:
    words = Vocabulary.parse("person: thing; sky, clouds: stuff")
    with pytest.raises(DataError, match="1 of 4 categories have no class in the vocabulary: lamp;"):
        evaluate(OraclePredictor(), folder, folder.photos, words)
    evaluator = Evaluator(folder, words, np.ones(2, dtype=bool), ignore_unmapped=True)
    assert evaluator.truth(folder.photos[0]).class_map()[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, -1, -1, -1, -1]


def test_class_regions_allow_the_semantic_task_only(panoptic_folder: Path) -> None:
    path = panoptic_folder / "panoptic.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"semantic_only": True}))
    folder = PanopticFolder(panoptic_folder)
    report = evaluate(OraclePredictor(), folder, folder.photos, WORDS)
    assert report.panoptic is None
    assert report.summary()["mIoU"] == 100.0
    with pytest.raises(DataError, match="labels classes, not instances"):
        evaluate(OraclePredictor(), folder, folder.photos, WORDS, ["panoptic"])


@pytest.mark.parametrize(("photos", "tasks", "error"), [(0, None, DataError), (2, ["depth"], ConfigError)])
def test_nothing_to_evaluate_is_refused(
    folder: PanopticFolder, photos: int, tasks: Sequence[Task] | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        evaluate(OraclePredictor(), folder, folder.photos[:photos], WORDS, tasks)


def test_two_processes_count_as_one(folder: PanopticFolder) -> None:
    predictor = OraclePredictor()
    settings = Settings.of(predictor.config)
    halves = []
    for photos in (folder.photos[:1], folder.photos[1:]):
        evaluator = Evaluator(folder, WORDS, predictor.seen(WORDS))
        for kept in evaluator.decode(predictor, photos):
            evaluator.add("photo", kept.truth, evaluator.compose(predictor, kept.decoded, settings))
        halves.append(evaluator)
    halves[0].merge(halves[1].state())
    merged = halves[0].report(predictor.config, settings)
    whole = evaluate(predictor, folder, folder.photos, WORDS)
    assert merged.to_json() == whole.to_json()


def test_a_sweep_runs_the_network_once_per_photo(folder: PanopticFolder) -> None:
    predictor = OraclePredictor()
    evaluator = Evaluator(folder, WORDS, predictor.seen(WORDS), ["panoptic"])
    kept = list(evaluator.decode(predictor, folder.photos))
    assert predictor.network_calls == 2 * len(folder.photos)
    start = Settings.of(predictor.config)
    grid = [*ensemble_grid(start), *threshold_grid(start, score_thresholds=(0.0, 0.9))]
    rows = sweep(predictor, kept, evaluator.vocabulary, grid)
    assert predictor.network_calls == 2 * len(folder.photos)
    assert [row.settings for row in rows] == grid
    for row in rows:
        single = evaluate(predictor, folder, folder.photos, WORDS, ["panoptic"], settings=row.settings)
        assert single.panoptic is not None
        assert row.panoptic.all.pq == single.panoptic.all.pq
    best = best_setting(rows)
    assert best.settings.score_threshold <= 0.5
    assert best.record()["PQ"] == pytest.approx(200 / 3)
    assert sweep(predictor, kept, evaluator.vocabulary, [replace(start, score_threshold=0.9)])[0].panoptic.all.pq < 0.6


def test_table_10_and_threshold_grids() -> None:
    start = Settings.of(variant_config("l"))
    table_10 = ensemble_grid(start)
    assert len(table_10) == 14
    assert {(s.alpha, s.beta) for s in table_10 if s.ensemble == "arithmetic"} >= {(0.4, 0.8), (1.0, 1.0)}
    assert {s.overlap_threshold for s in table_10} == {0.8}
    grid = threshold_grid(start, (0.0, 0.1), (0.5,), (None,), weights=[(0.2, 0.8), (0.4, 0.6)])
    assert [(s.score_threshold, s.alpha) for s in grid] == [(0.0, 0.2), (0.0, 0.4), (0.1, 0.2), (0.1, 0.4)]
    assert {s.void_threshold for s in threshold_grid(start)} == {None, 0.9}
    xs = threshold_grid(replace(start, void_threshold=0.9))
    assert len(xs) == len(set(xs)) == 12 and {s.void_threshold for s in xs} == {0.9}, "None would be 0.9 once more"
    with pytest.raises(ConfigError, match="empty"):
        sweep(OraclePredictor(), [], WORDS, [])
