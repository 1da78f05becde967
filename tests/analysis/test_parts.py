"""Time per part: every part of the network is included, and the predictor's caches and counters do not change."""

import threading

import numpy as np
import pytest
import torch

from analysis.parts import part_times
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor
from eovseg.timing import Clock
from tests.analysis.conftest import WORDS


def test_parts_in_the_order_they_run(predictor: Predictor, photo: np.ndarray) -> None:
    counts = (predictor.image_halves, predictor.word_halves)
    times = part_times(predictor, photo, WORDS, runs=1)
    assert [(part.name, part.step) for part in times.parts] == [
        ("resize", "photo"),
        ("image encoder", "photo"),
        ("aggregator", "photo"),
        ("spatial ViT block", "photo"),
        ("upscaling of the ViT map", "photo"),
        ("VAS", "words"),
        ("decoder layer 1", "words"),
        ("decoder layer 2", "words"),
        ("decoder layer 3", "words"),
        ("frozen classifier", "words"),
        ("ensemble and segments", "result"),
    ]
    assert all(part.milliseconds > 0 for part in times.parts) and times.word_milliseconds > 0
    assert times.total == pytest.approx(sum(times.of(step) for step in ("photo", "words", "result")))
    assert (times.words, times.runs) == (4, 1) and min(times.size) == predictor.config.short_side
    assert counts == (predictor.image_halves, predictor.word_halves)
    network = predictor.network
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_no_runs_are_refused(predictor: Predictor, photo: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        part_times(predictor, photo, WORDS, runs=0)


def test_a_lap_of_another_thread_does_not_count() -> None:
    clock = Clock(torch.device("cpu"))
    other = threading.Thread(target=clock.lap, args=("theirs",))
    other.start()
    other.join()
    clock.lap("ours")
    clock.lap("ours")
    assert list(clock.laps) == ["ours"]
