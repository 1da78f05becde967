"""Milliseconds to reach a block: cumulative, after warm-up, a median, and labelled with the machine."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from analysis.features import TAPS
from analysis.sources import encoder_pixels
from analysis.timing import machine_name, reach_times, spatial_reach_times, tower_reach_times, vit_reach_times
from eovseg.errors import ConfigError
from eovseg.predictor import Predictor
from tests.analysis.test_features import timm_vit


class Sleeper(nn.Module):
    """Takes `seconds`, plus a hundred milliseconds on its first run."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.cold = seconds, True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds + 0.1 * self.cold)
        self.cold = False
        return x


def test_times_are_cumulative_and_warm() -> None:
    first, second = Sleeper(0.01), Sleeper(0.02)
    found = reach_times(nn.Sequential(first, second), [("a", first), ("b", second)], torch.zeros(1), runs=3)
    assert found.layers == ("a", "b") and 10 <= found.milliseconds[0] < 100
    assert found.milliseconds[1] - found.milliseconds[0] >= 20
    assert not first._forward_hooks and "thread" in found.machine


def test_every_block_of_a_vit_at_another_size() -> None:
    found = vit_reach_times(timm_vit(), torch.zeros(1, 3, 32, 96), runs=2)
    assert found.layers == ("block 1", "block 2", "block 3", "block 4")
    assert (np.diff(found.milliseconds) > 0).all()


def test_taps_of_a_block_are_reached_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of the three taps on a fake clock that only attention (2 ms) and the MLP (4 ms) advance."""
    clock = [0.0]
    monkeypatch.setattr("eovseg.timing.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    vit = timm_vit()
    for block in vit.blocks:  # type: ignore[union-attr]
        block.attn.register_forward_hook(lambda *_: clock.__setitem__(0, clock[0] + 0.002))
        block.mlp.register_forward_hook(lambda *_: clock.__setitem__(0, clock[0] + 0.004))
    found = {tap: vit_reach_times(vit, torch.zeros(1, 3, 64, 64), runs=2, tap=tap).milliseconds for tap in TAPS}
    assert found["before attention"] == pytest.approx([0, 6, 12, 18])
    assert found["after attention"] == pytest.approx([2, 8, 14, 20])
    assert found["output"] == pytest.approx([6, 12, 18, 24])


def test_spatial_block_of_the_predictor(predictor: Predictor, photo: np.ndarray) -> None:
    found = spatial_reach_times(predictor, encoder_pixels(predictor, photo, 128), runs=1)
    assert found.layers == ("block 1",) and found.milliseconds[0] > 0


def test_stages_of_the_image_encoder(predictor: Predictor, photo: np.ndarray) -> None:
    found = tower_reach_times(predictor, encoder_pixels(predictor, photo, 128), runs=1)
    assert found.layers == ("stage 1", "stage 2", "stage 3", "stage 4") and (np.diff(found.milliseconds) > 0).all()


def test_no_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        reach_times(nn.Identity(), [], torch.zeros(1), runs=0)


def test_machine_name_contains_processor_and_threads() -> None:
    name = machine_name()
    threads = torch.get_num_threads()
    assert name.endswith(f", {threads} thread{'s' if threads > 1 else ''}") and len(name) > len(", 1 thread")
