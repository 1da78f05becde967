"""Unlabelled content must not be learned: tiny photos that are easy to check by eye."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from eovseg.data.batches import Target
from eovseg.training.config import LossConfig
from eovseg.training.losses import SetCriterion, mostly_unlabelled
from eovseg.training.matcher import Match
from eovseg.training.points import sample_at, sample_rows
from tests.training.conftest import TinyLogits, make_target

VOID = 3  # of the fixture's 3 classes


@pytest.fixture(params=[256, 0], ids=["points", "cells"])
def config(request: pytest.FixtureRequest) -> LossConfig:
    """Masks compared at sampled points, and at every cell."""
    return LossConfig(points=request.param)


def one_layer(masks: Tensor, scores: Tensor) -> TinyLogits:
    return TinyLogits((masks[None],), (scores[None],))


def boxes(*columns: range) -> Tensor:
    """8×8 mask logits, one query per range of columns with a confident mask."""
    logits = torch.full((len(columns), 8, 8), -6.0)
    for index, inside in enumerate(columns):
        logits[index, :, list(inside)] = 6.0
    return logits


def class_loss(config: LossConfig, target: Target, masks: Tensor, scores: Tensor) -> float:
    return SetCriterion(config)(one_layer(masks, scores), [target])["layer0_class"].item()


def matched(config: LossConfig, target: Target, masks: Tensor) -> Match:
    """The matched queries and targets, with all classes equally likely."""
    criterion = SetCriterion(config)
    criterion(one_layer(masks, torch.zeros(len(masks), 4)), [target])
    return criterion.matches[0][0]


def test_mask_losses_ignore_logits_over_invalid_pixels(config: LossConfig, halves: Target) -> None:
    halves.valid[16:] = False
    masks = boxes(range(4), range(4, 8))
    other = masks.clone()
    other[:, 5:] = 9.0  # rows 5-7 are pixels 20-31; interpolation of row 4 still affects valid pixels
    scores = torch.zeros(2, 4)
    values = []
    for logits in (masks, other):
        torch.manual_seed(0)
        losses = SetCriterion(config)(one_layer(logits, scores), [halves])
        values.append((losses["layer0_mask"].item(), losses["layer0_dice"].item()))
    assert values[0] == values[1]


def test_no_gradient_reaches_masks_over_invalid_pixels(config: LossConfig, halves: Target) -> None:
    halves.valid[16:] = False
    masks = (boxes(range(4), range(4, 8)) * 0.1).requires_grad_()
    losses = SetCriterion(config)(one_layer(masks, torch.zeros(2, 4)), [halves])
    (losses["layer0_mask"] + losses["layer0_dice"]).backward()
    assert masks.grad is not None
    assert masks.grad[:, 5:].abs().max() == 0
    assert masks.grad[:, :4].abs().min() > 0


def test_matching_ignores_invalid_pixels(config: LossConfig, halves: Target) -> None:
    # On the valid upper half, both queries are equal except for a slightly worse edge of the first. In the invalid
    # lower half, the second one is completely wrong, but it must still win.
    halves.valid[16:] = False
    masks = boxes(range(3), range(4))
    masks[1, 5:] = -masks[1, 5:]
    only = make_target(halves.masks[:1], [0], classes=3)
    only.valid[16:] = False
    assert matched(config, only, masks)[0].tolist() == [1]


@pytest.mark.parametrize(
    ("mask_row", "labelled_columns", "excused"),
    [
        ([1, 1, 1, 1], [1, 1, 0, 0], False),  # exactly half is not a majority
        ([1, 1, 1, 1], [1, 0, 0, 0], True),
        ([0, 1, 1, 1], [1, 1, 0, 0], True),
        ([1, 1, 1, 0], [1, 1, 0, 0], False),
        ([0, 0, 0, 0], [0, 0, 0, 0], False),  # an empty mask is never excused
    ],
)
def test_a_query_has_no_void_loss_if_most_of_its_mask_is_unlabelled(
    mask_row: list[int], labelled_columns: list[int], excused: bool
) -> None:
    logits = torch.tensor(mask_row, dtype=torch.float)[None, None, None] * 2 - 1
    unlabelled = 1 - torch.tensor(labelled_columns, dtype=torch.float)[None, None]
    assert mostly_unlabelled(logits, unlabelled).tolist() == [[excused]]


def test_an_unmatched_query_over_unlabelled_pixels_adds_no_void_loss(config: LossConfig, halves: Target) -> None:
    target = make_target(halves.masks[:1], [0], classes=3)
    masks = boxes(range(4), range(4, 8))
    sure = torch.tensor([[9.0, 0, 0, 0], [0, 9.0, 0, 0]])  # the second query predicts class 1 on the right half
    assert class_loss(config, target, masks, sure) > 1.0  # labelled: it should have predicted void
    target.labelled[:, 16:] = False
    assert class_loss(config, target, masks, sure) < 0.01
    # The same query on labelled pixels, or without a mask, is penalised.
    assert class_loss(config, target, boxes(range(4), range(2, 4)), sure) > 1.0
    assert class_loss(config, target, boxes(range(4), range(0)), sure) > 1.0


def test_unknown_classes_are_excluded_from_the_softmax(config: LossConfig, halves: Target) -> None:
    target = make_target(halves.masks[:1], [0], classes=3)
    scores = torch.tensor([[1.0, 5.0, 2.0, 0.5]], requires_grad=True)
    target.known_classes[1] = False
    loss = SetCriterion(config)(one_layer(boxes(range(4)), scores), [target])["layer0_class"]
    known = torch.tensor([1.0, 2.0, 0.5])
    assert loss.item() == pytest.approx(config.class_weight * -F.log_softmax(known, 0)[0].item(), rel=1e-5)
    loss.backward()
    assert scores.grad is not None and scores.grad[0, 1] == 0 and scores.grad.isfinite().all()


def test_a_photo_without_a_valid_pixel_costs_nothing_and_stays_finite(config: LossConfig, halves: Target) -> None:
    halves.valid[:] = False
    halves.labelled[:] = False
    losses = SetCriterion(config)(one_layer(boxes(range(4), range(4, 8)), torch.zeros(2, 4)), [halves])
    assert losses["layer0_mask"].item() == 0 and losses["layer0_dice"].item() == 0
    assert math.isfinite(losses["layer0_class"].item())


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_the_matcher_accepts_non_finite_predictions(config: LossConfig, halves: Target, poison: float) -> None:
    masks = boxes(range(4), range(4, 8), range(8))
    masks[2] = poison
    queries, columns = matched(config, halves, masks)
    assert queries.tolist() == [0, 1] and columns.tolist() == [0, 1]


def test_each_target_is_matched_as_often_as_requested(config: LossConfig, halves: Target) -> None:
    masks = boxes(range(4), range(4, 8), range(3), range(5, 8), range(8))
    for repeats, expected in ((1, [0, 1]), (2, [0, 0, 1, 1]), (9, [0, 0, 1, 1])):
        columns = matched(replace(config, repeats=(repeats,)), halves, masks)[1]
        assert sorted(columns.tolist()) == expected


def test_masks_are_padded_to_the_networks_grid(config: LossConfig, halves: Target) -> None:
    # A 30×30 photo on an 8×8 grid (32×32): the padding counts as background, as released.
    small = make_target(halves.masks[:, :30, :30], [0, 1], classes=3)
    padded = make_target(F.pad(small.masks, (0, 2, 0, 2)), [0, 1], classes=3)
    losses = []
    for target in (small, padded):
        torch.manual_seed(0)
        losses.append(SetCriterion(config)(one_layer(boxes(range(4), range(4, 8)), torch.zeros(2, 4)), [target]))
    assert losses[0] == losses[1]


def test_sampling_rows_equals_grid_sampling() -> None:
    torch.manual_seed(0)
    masks = torch.rand(3, 5, 7) > 0.5
    rows, points = torch.tensor([2, 0, 0, 1]), torch.rand(4, 50, 2)
    expected = sample_at(masks[rows][:, None].float(), points)[:, 0]
    torch.testing.assert_close(sample_rows(masks, rows, points), expected)
