"""Verdicts and the words of a segment, with manually chosen thresholds and with the shipped file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eovseg.advice.thresholds import AdviceThresholds, ListThresholds, likely_words, read_thresholds, word_evidence
from eovseg.assets import asset_path
from eovseg.background import merge_background
from eovseg.checkpoints import file_digest
from eovseg.errors import CheckpointError, ConfigError
from eovseg.segmented import Verdict
from eovseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from eovseg.predictor import Predictor

WEIGHTS = asset_path("weights/eovseg-xs.safetensors")
HAND = AdviceThresholds(
    "x", 0.9, (ListThresholds(20, {"0.05": 1.0, "0.1": 0.5}, 0.2), ListThresholds(133, {"0.05": 2.0, "0.1": 1.0}, 0.1))
)


@pytest.mark.parametrize(("words", "length"), [(1, 20), (40, 20), (60, 133), (133, 133), (134, None)])
def test_the_nearest_length_is_used_but_none_beyond_the_longest(words: int, length: int | None) -> None:
    limits = HAND.of(words)
    assert (limits.words if limits else None) == length


def test_words_reach_the_threshold_and_there_is_at_least_one() -> None:
    limits = HAND.limits[0]
    assert likely_words(np.array([0.1, 0.6, 0.3]), limits) == [1, 2]
    assert likely_words(np.array([0.15, 0.16, 0.14]), limits) == [1]


def test_evidence_is_the_best_kernel_and_small_masks_use_one_classifier() -> None:
    inside, outside = np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([[3.0, 0.0], [9.0, 9.0]])
    evidence = word_evidence(inside, outside, np.array([True, False]), 0.5)
    assert evidence.tolist() == [2.0, 3.0]


def test_thresholds_of_other_weights_are_ignored(tmp_path: Path) -> None:
    checkpoint = tmp_path / "mine.safetensors"
    assert read_thresholds(checkpoint, "x") is None
    path = tmp_path / "mine.honesty.json"
    path.write_text(json.dumps(HAND.to_json()))
    assert read_thresholds(checkpoint, "x") == HAND
    assert read_thresholds(checkpoint, "y") is None
    path.write_text('{"weights": "x"}')
    with pytest.raises(CheckpointError, match=r"mine\.honesty\.json"):
        read_thresholds(checkpoint, "x")


def test_the_shipped_thresholds_belong_to_the_shipped_weights(xs: "Predictor") -> None:
    assert xs.advice_thresholds is not None and xs.advice_thresholds.weights == file_digest(WEIGHTS)
    for limits in xs.advice_thresholds.limits:
        rates = sorted((float(rate), threshold) for rate, threshold in limits.evidence.items())
        assert [t for _, t in rates] == sorted((t for _, t in rates), reverse=True)


def test_results_contain_only_measured_statements(xs: "Predictor") -> None:
    photo = asset_path("photos/bear.jpg")
    result = xs(photo, "bear; grass; refrigerator")
    told = result.to_json()
    assert told["words_in_photo"].keys() == {"bear", "grass", "refrigerator"}
    assert told["words_in_photo"]["bear"] and not told["words_in_photo"]["refrigerator"]
    absent = replace(result, verdicts=(Verdict("bear", False), Verdict("refrigerator", False)))
    assert absent.to_json()["words_in_photo"] == {"bear": True, "refrigerator": False}, "a segment is a bear"
    assert all(segment.label in segment.words for segment in result.segments)
    assert result.rle_json()["annotations"][0]["words"] == list(result.segments[0].words)
    assert not any(segment.words for segment in xs(photo, "bear; grass", alpha=0.9).segments)
    new = xs(photo, "bear; blorp")
    assert not any(segment.words for segment in new.segments)
    assert [verdict.word for verdict in new.verdicts] == ["bear"]
    words = Vocabulary.parse("bear")
    assert [v.word for v in merge_background(result, words).verdicts] == ["bear"]


def test_rates_that_were_not_measured_are_refused(xs: "Predictor") -> None:
    decoded = xs.decode(xs.encode_image(asset_path("photos/bear.jpg")), "bear; grass")
    with pytest.raises(ConfigError, match=r"false_alarms=0\.07 was not measured"):
        xs.verdicts(decoded, 0.07)
    strict, loose = (sum(v.in_photo for v in xs.verdicts(decoded, rate)) for rate in (0.01, 0.2))
    assert strict <= loose
    assert replace(HAND, limits=()).of(5) is None
