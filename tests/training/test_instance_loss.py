"""The loss that separates segments in F_agg."""

import pytest
import torch

from eovseg.data.batches import Target
from eovseg.training.config import LossConfig
from eovseg.training.instance_loss import instance_loss
from tests.training.conftest import make_target

CONFIG = LossConfig(instance_pixels=16)


def _generators(count: int = 1) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(index) for index in range(count)]


def _features(halves: Target, inside: list[list[float]]) -> torch.Tensor:
    """(1, 2, 8, 8): one constant vector per segment."""
    cells = halves.masks[:, 2::4, 2::4].float()
    return torch.einsum("mhw,mc->chw", cells, torch.tensor(inside))[None]


def test_segments_that_look_alike_cost_the_logarithm_of_their_number(halves: Target) -> None:
    loss = instance_loss(_features(halves, [[1.0, 1.0], [2.0, 2.0]]), [halves], CONFIG, _generators())
    assert loss.item() == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-5)  # scale does not matter


def test_different_segments_have_a_low_loss_and_gradients_separate_similar_ones(halves: Target) -> None:
    apart = instance_loss(_features(halves, [[1.0, 0.0], [0.0, 1.0]]), [halves], CONFIG, _generators())
    assert apart.item() < 1e-3
    features = _features(halves, [[1.0, 0.1], [1.0, -0.1]]).requires_grad_()
    instance_loss(features, [halves], CONFIG, _generators()).backward()
    assert features.grad is not None
    left, right = (features.grad[0, 1][mask[2::4, 2::4]].sum() for mask in halves.masks)
    assert left < 0 < right  # a gradient step separates the segments in the second channel


def test_valid_ground_outside_all_segments_is_a_candidate(halves: Target) -> None:
    halves.masks, halves.labels = halves.masks[:1], halves.labels[:1]
    same = torch.ones(1, 2, 8, 8)
    loss = instance_loss(same, [halves], CONFIG, _generators())
    assert loss.item() == pytest.approx(torch.log(torch.tensor(17.0)).item(), abs=1e-5)  # itself and 16 cells outside
    halves.valid = halves.masks[0].clone()
    assert instance_loss(same, [halves], CONFIG, _generators()).item() == 0  # no other candidates


def test_a_photo_without_segments_counts_as_zero(halves: Target) -> None:
    empty = make_target(torch.zeros(0, 32, 32, dtype=torch.bool), [], classes=3)
    features = torch.randn(1, 4, 8, 8).expand(2, -1, -1, -1).clone().requires_grad_()
    both = instance_loss(features, [halves, empty], CONFIG, _generators(2))
    one = instance_loss(features[:1], [halves], CONFIG, _generators())
    torch.testing.assert_close(both, one / 2)
    both.backward()
    assert features.grad is not None and features.grad[1].abs().max() == 0
