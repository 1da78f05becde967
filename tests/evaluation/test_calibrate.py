"""Calibrations are recovered from random outcomes, stored with the weights, and only change the displayed scores."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from eovseg.composer import shown_score
from eovseg.data.panoptic_folder import PanopticFolder
from eovseg.errors import ConfigError, DataError
from eovseg.evaluation.calibrate import calibrate, fit_calibration, main
from eovseg.evaluation.counts import Counts, PhotoCounts, ScoredSegment
from eovseg.evaluation.evaluate import Evaluator, evaluate
from eovseg.evaluation.stored import read_report
from eovseg.evaluation.sweep import search
from eovseg.model.config import ModelConfig, variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.settings import Settings
from eovseg.training.config import setting
from eovseg.vocabulary import Vocabulary

WORDS = "person: thing; sky, clouds: stuff; lamp: thing"


def drawn(photos: int, slope: float, bias: float) -> Counts:
    """Ten segments per photo, each right with probability sigmoid(slope x logit(score) + bias)."""
    random = np.random.default_rng(3)
    scores = random.uniform(0.05, 0.95, (photos, 10))
    right = random.uniform(size=scores.shape) < expit(slope * logit(scores) + bias)
    pairs = np.stack([scores, right], axis=-1).tolist()
    rows = [[ScoredSegment(score, bool(hit)) for score, hit in row] for row in pairs]
    photos_ = tuple(PhotoCounts(str(i), segments=row) for i, row in enumerate(rows))
    return Counts(photos_, np.array([True]), np.array([True]))


def test_slope_and_bias_are_recovered() -> None:
    fit = calibrate(drawn(2000, 0.7, -1.2))
    assert (fit.slope, fit.bias) == (pytest.approx(0.7, abs=0.04), pytest.approx(-1.2, abs=0.05))
    assert fit.error_before > 0.15 and fit.error_fitted < 0.02 and fit.error_held_out < 0.025


def test_calibrated_scores_give_the_same_calibration() -> None:
    counts, known = drawn(200, 0.7, -1.2), (1.7, 0.4)
    photos = tuple(
        PhotoCounts(p.photo, segments=[ScoredSegment(shown_score(s.score, known), s.right) for s in p.segments or ()])
        for p in counts.photos
    )
    again, first = calibrate(Counts(photos, counts.is_thing, counts.seen), known), calibrate(counts)
    assert (again.slope, again.bias) == (pytest.approx(first.slope, abs=1e-3), pytest.approx(first.bias, abs=1e-3))


def test_a_fit_needs_right_and_wrong_segments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="2 of 2 segments are right"):
        fit_calibration(np.array([0.4, 0.6]), np.array([True, True]))
    assert main([str(tmp_path / "missing")]) == 1
    assert capsys.readouterr().err.endswith(
        "missing does not exist; give a report folder written by `eovseg evaluate --out`.\n"
    )


def test_a_fit_without_one_fold_needs_right_and_wrong_segments() -> None:
    """The only right segment is in one fold, so that the fit to the others is impossible; the sentence counts all."""
    photos = tuple(PhotoCounts(str(i), segments=[ScoredSegment(0.1 * i, i == 3)] * 2) for i in range(5))
    with pytest.raises(DataError, match="Only 2 of 10 segments are right, and all are in one of the 5 groups"):
        calibrate(Counts(photos, np.array([True]), np.array([True])))


def test_a_weight_file_stores_the_calibration() -> None:
    config = variant_config("xs").with_changes(**dict([setting("calibration=[0.8,-0.5]"), setting("edges=true")]))
    assert (config.calibration, config.edges) == ((0.8, -0.5), True)
    assert ModelConfig.from_dict(config.to_dict()) == config
    for wrong in ([1], [0, 1], [1, float("nan")], "x", [1, 2, 3], [True, 0]):
        with pytest.raises(ConfigError, match="a positive slope and a bias"):
            config.with_changes(calibration=wrong)
    with pytest.raises(ConfigError, match="choose one of released, best-first"):
        config.with_changes(composition="worst-first")


@pytest.mark.parametrize("variant", ["s", "m", "l"])
def test_the_released_variants_stay_as_they_were(variant: str) -> None:
    config = variant_config(variant)
    assert (config.composition, config.edges, config.calibration) == ("released", False, None)


@pytest.fixture(scope="module")
def network() -> EOVSeg:
    torch.manual_seed(0)
    return EOVSeg(variant_config("xs").with_changes(queries=8, short_side=64))


@pytest.mark.parametrize("composition", ["released", "best-first"])
def test_only_displayed_scores_change(network: EOVSeg, composition: str, panoptic_folder: Path) -> None:
    predictor = Predictor(network, ["person"], device=torch.device("cpu"), text_weights="untrained")
    loose = {"score_threshold": 0.0, "overlap_threshold": 0.0, "void_threshold": 1.0, "composition": composition}
    photo = PanopticFolder(panoptic_folder)
    image = photo.load_image(photo.photos[0])
    plain = predictor(image, WORDS, mask_threshold=0.0, pixel_threshold=0.0, **loose)
    shown = predictor(image, WORDS, mask_threshold=0.0, pixel_threshold=0.0, calibration=(2.0, -1.0), **loose)
    assert plain.segments and np.array_equal(plain.segment_map, shown.segment_map) and plain.queries == shown.queries
    for before, after in zip(plain.segments, shown.segments, strict=True):
        assert after.score == pytest.approx(expit(2 * logit(before.score) - 1))
        assert asdict(before) | {"score": 0} == asdict(after) | {"score": 0}


def test_the_models_calibration_can_be_disabled(
    network: EOVSeg, panoptic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(network, ["person"], device=torch.device("cpu"), text_weights="untrained")
    photo = PanopticFolder(panoptic_folder)
    decoded = predictor.decode(predictor.encode_image(photo.load_image(photo.photos[0])), WORDS)
    loose = {"score_threshold": 0.0, "overlap_threshold": 0.0, "void_threshold": 1.0}
    plain = predictor.compose(decoded, **loose)
    monkeypatch.setattr(predictor, "config", predictor.config.with_changes(calibration=(2.0, -1.0)))
    own = predictor.compose(decoded, **loose)
    assert plain.segments and own.segments != plain.segments
    assert predictor.compose(decoded, calibration=False, **loose).segments == plain.segments
    assert predictor.compose(decoded, calibration=[2, -1], **loose).segments == own.segments  # type: ignore[arg-type]
    wrong = ((), (1.0,), (0.0, 1.0), (-2.0, 0.0), (1.0, float("nan")), "ab", True, 3.0, (1.0, 2.0, 3.0), ("a", "b"))
    for calibration in wrong:
        with pytest.raises(ConfigError, match="a positive slope and a bias, or False for uncalibrated scores"):
            predictor.compose(decoded, calibration=calibration)  # type: ignore[arg-type]


def test_photos_without_segments_are_in_no_fold() -> None:
    """Only two of forty photos have segments; each is held out once, with a fit to the other."""
    counts = drawn(2, 0.7, -1.2)
    empty = tuple(PhotoCounts(f"empty {i}", segments=[]) for i in range(19))
    sparse = Counts((*empty, counts.photos[0], *empty, counts.photos[1]), counts.is_thing, counts.seen)
    fit, dense = calibrate(sparse), calibrate(counts)
    assert fit == dense and fit.folds == 2 and fit.error_held_out != fit.error_fitted
    with pytest.raises(DataError, match="1 photos have segments; a calibration needs at least two"):
        calibrate(Counts((*empty, counts.photos[0]), counts.is_thing, counts.seen))


def test_the_command_prints_the_calibration(
    network: EOVSeg, panoptic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = Predictor(network, ["person"], device=torch.device("cpu"), text_weights="untrained")
    folder, words = PanopticFolder(panoptic_folder), Vocabulary.parse(WORDS + "; zebra")
    settings = replace(Settings.of(predictor.config), calibration=(1.7, 0.4))
    report = evaluate(predictor, folder, folder.photos, words, ["panoptic"], settings=settings)
    report = replace(report, counts=drawn(30, 0.7, -1.2), photos=30)
    report.save(tmp_path)
    stored = read_report(tmp_path)
    assert stored.settings == settings.model_values(), "a calibration is a tuple again"
    assert stored.table() == report.table()
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("300 segments of 30 photos;")
    assert " of the uncalibrated scores, " in printed and "calibrated on other photos (10 folds)" in printed


def test_the_search_returns_the_best_setting_tried(network: EOVSeg, panoptic_folder: Path) -> None:
    predictor = Predictor(network, ["person"], device=torch.device("cpu"), text_weights="untrained")
    folder, words = PanopticFolder(panoptic_folder), Vocabulary.parse(WORDS + "; zebra")
    report = evaluate(predictor, folder, folder.photos, words, ["panoptic"])
    assert report.counts is not None and "boundary F" in report.summary()
    evaluator = Evaluator(folder, words, predictor.seen(words), ["panoptic"])
    photos = [photo.logits_only() for photo in evaluator.decode(predictor, folder.photos)]
    start = Settings.of(predictor.config)
    parts = (
        ({"composition": "best-first"}, {"composition": "released"}),
        tuple({"score_threshold": value} for value in (0.0, 0.2)),
    )
    calls = predictor.word_halves
    rows = search(predictor, photos, evaluator.vocabulary, start, parts)
    assert predictor.word_halves == calls, "the network does not run again"
    tried = [row.settings for row in rows]
    assert tried[0] == start and len(set(tried)) == len(tried)
    assert {row.settings.composition for row in rows} == {"best-first", "released"}
