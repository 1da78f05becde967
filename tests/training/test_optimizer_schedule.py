"""Parameter groups of the published S, learning rates at steps that are easy to compute, settings as JSON."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from eovseg.errors import ConfigError
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.vas import VocabularyAwareSelection
from eovseg.official_names import sort_official_keys
from eovseg.training.config import LossConfig, TrainConfig, setting, xs_config
from eovseg.training.optimizer import build_optimizer, weight_decays
from eovseg.training.schedule import learning_rate

RECORDING = Path(__file__).parents[1] / "fixtures" / "parity" / "optimizer_S.json"


def test_the_groups_of_s_are_the_released_ones() -> None:
    recorded = {name: decay for name, _, decay in json.loads(RECORDING.read_text())["groups"]}
    ours = sort_official_keys(recorded).used
    assert len(ours) == len(recorded)
    with torch.device("meta"):  # names are all that is asked for
        network = EOVSeg(variant_config("s"))
    decays = weight_decays(network, 0.05)
    assert decays == {ours[name]: decay for name, decay in recorded.items()}


def test_optimizer_has_the_papers_settings_and_no_frozen_parameter() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Embedding(3, 2), nn.Linear(2, 2))
    network[3].requires_grad_(False)
    optimizer = build_optimizer(network, TrainConfig())
    assert [(g["weight_decay"], len(g["params"]), g["lr"]) for g in optimizer.param_groups] == [
        (0.05, 2, 1e-4),
        (0.0, 3, 1e-4),
    ]
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_a_network_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="no trainable parameter"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False), TrainConfig())


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1e-4), (9, 1e-4), (163_888, 1e-4), (163_889, 1e-5), (187_545, 1e-5), (187_546, 1e-6), (199_999, 1e-6)],
)
def test_the_papers_schedule(step: int, expected: float) -> None:
    assert learning_rate(step, TrainConfig()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (5, 0.5), (10, 1.0), (60, 0.1 + 0.9 * 0.5), (35, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2), (110, 0.1)],
)
def test_cosine_with_warmup(step: int, expected: float) -> None:
    config = TrainConfig(
        schedule="cosine", steps=111, warmup=10, warmup_factor=0.0, learning_rate=1.0, final_factor=0.1
    )
    assert learning_rate(step, config) == pytest.approx(expected)


def test_settings_survive_json() -> None:
    config = xs_config(seed=3, data=("a", "b"), loss=LossConfig(repeats=(2, 1, 1)))
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"ema": 1.0}, {"schedule": "linear"}, {"learning_rate": 0.0},
     {"decay": -1}, {"even_features": -3}, {"warmup": -1}, {"weight_decay": float("nan")}],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(TrainConfig(), **wrong)  # type: ignore[arg-type]


def test_a_constant_rate_falls_in_the_last_steps_only() -> None:
    config = TrainConfig(schedule="constant", steps=100, decay=20, warmup=10, warmup_factor=0.0, final_factor=0.1)
    rates = [learning_rate(step, config) / config.learning_rate for step in (5, 10, 79, 89, 99)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.55, 0.1])
    assert learning_rate(99, replace(config, decay=0)) == config.learning_rate
    assert learning_rate(99, replace(config, decay=1)) == pytest.approx(0.1 * config.learning_rate)


def test_vas_keeps_its_scale_without_decay() -> None:
    network = nn.ModuleDict({"vas": VocabularyAwareSelection(8, 4)})
    assert weight_decays(network, 0.05)["vas.scale"] == 0.05  # as released
    decays = weight_decays(network, 0.05, vas_decay=False)
    assert decays["vas.scale"] == decays["vas.offset"] == 0.0 and decays["vas.guide.weight"] == 0.05


def test_negative_loss_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="dense_weight is -1; give a number of at least 0"):
        TrainConfig(loss=LossConfig(dense_weight=-1))


@pytest.mark.parametrize("text", ["alpha", "alpha=", "alpha=x", "alpha=" + "9" * 5_000, "alpha=" + "[" * 100_000])
def test_invalid_overrides_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME=VALUE with a JSON value") as caught:
        setting(text)
    assert len(str(caught.value)) < 200
