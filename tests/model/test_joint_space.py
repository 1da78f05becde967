"""The two parts of the joint space on numbers that are easy to check."""

import math

import pytest
import torch

from eovseg.model.classifier import pool_by_cover, pool_by_masks
from eovseg.model.joint_space import JointSpace


def tiny_space(conse_weight: float) -> JointSpace:
    """Two features, three classes in a plane; the projection turns (x, y) into (y, x)."""
    space = JointSpace(features=2, dimension=2, classes=3)
    with torch.no_grad():
        space.projection.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        space.projection.bias.zero_()
        space.classifier_weight.copy_(torch.tensor([[math.log(2), 0.0], [0.0, math.log(3)], [0.0, 0.0]]))
        space.class_embeddings.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
        space.conse_weight.fill_(conse_weight)
    return space


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([0.0, 0.0], [0.0, 1 / 3]),  # odds 1 : 1 : 1, the first and third names cancel
        ([1.0, 0.0], [1 / 4, 1 / 4]),  # odds 2 : 1 : 1
        ([2.0, 0.0], [3 / 6, 1 / 6]),  # odds 4 : 1 : 1
        ([0.0, 1.0], [0.0, 3 / 5]),  # odds 1 : 3 : 1
    ],
)
def test_conse_is_the_probability_weighted_mean_of_the_names(features: list[float], expected: list[float]) -> None:
    torch.testing.assert_close(tiny_space(1.0).conse(torch.tensor(features)), torch.tensor(expected))


def test_the_sum_is_of_unit_vectors() -> None:
    pooled = torch.tensor([[[3.0, 0.0]], [[0.0, 2.0]]])  # (2, 1, 2): any leading dimensions
    space = tiny_space(0.5)
    odds = 2.0**3
    conse = torch.tensor([odds - 1, 1.0]) / torch.tensor([odds - 1, 1.0]).norm()
    expected = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    expected[0, 0] += 0.5 * conse
    expected[1, 0] += torch.tensor([0.0, 0.5])
    torch.testing.assert_close(space(pooled), expected)


def test_without_conse_the_projection_stands_alone_on_standardised_features() -> None:
    space = tiny_space(0.0)
    space.feature_mean.copy_(torch.tensor([1.0, 2.0]))
    space.feature_std.copy_(torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(space(torch.tensor([7.0, 6.0])), torch.tensor([1.0, 3.0]) / math.sqrt(10))


def test_a_checkpoint_restores_every_part() -> None:
    source, target = tiny_space(0.5), JointSpace(2, 2, 3)
    target.load_state_dict(source.state_dict())
    pooled = torch.tensor([0.3, -0.8])
    torch.testing.assert_close(target(pooled), source(pooled))
    assert target.logit_scale == source.logit_scale


def test_a_mask_smaller_than_a_cell_is_averaged_over_the_cells_that_it_touches() -> None:
    features = torch.arange(2 * 3 * 4.0).reshape(1, 2, 3, 4)
    masks = torch.full((1, 3, 24, 32), -1.0)
    masks[0, 0, 8:24, 0:16] = 1.0  # four whole cells
    masks[0, 1, 9, 12:20] = 1.0  # four pixels in each of the cells (1, 1) and (1, 2)
    masks[0, 2, 0, 7:10] = 1.0  # one pixel in the cell (0, 0), two in (0, 1)
    pooled = pool_by_cover(features, masks)[0]
    torch.testing.assert_close(pooled[0], pool_by_masks(features, masks)[0, 0])
    torch.testing.assert_close(pooled[1], features[0, :, 1, 1:3].mean(-1))
    torch.testing.assert_close(pooled[2], (features[0, :, 0, 0] + 2 * features[0, :, 0, 1]) / 3)
    assert torch.equal(pool_by_masks(features, masks)[0, 1:], torch.zeros(2, 2))
