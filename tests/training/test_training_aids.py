"""Dense word loss, pilots and their options."""

import pytest
import torch
import torch.nn.functional as F

from eovseg.data.batches import Target
from eovseg.training.config import LossConfig
from eovseg.training.dense import dense_word_loss
from eovseg.training.losses import SetCriterion
from eovseg.training.pilots import make_mask_pilots
from tests.training.conftest import TinyLogits, make_target

CLASS_INDEX = torch.tensor([0, 0, 1, 2])  # class 0 has two words
KNOWN = torch.ones(1, 3, dtype=torch.bool)
ROWS = torch.eye(5)  # makes similarities equal to embeddings


def test_dense_loss_is_the_cross_entropy_of_class_scores(halves: Target) -> None:
    config = LossConfig(dense_pixels=64)
    torch.manual_seed(0)
    similarity = torch.randn(1, 5, 8, 8)
    words = similarity[0, :2].amax(0)
    scores = torch.stack([words, similarity[0, 2], similarity[0, 3]])  # void, the last row, is ignored
    expected = F.cross_entropy(scores[None], halves.semantic[None, 2::4, 2::4])
    loss = dense_word_loss(similarity, ROWS, CLASS_INDEX, halves.semantic[None], KNOWN, config)
    torch.testing.assert_close(loss, expected)


def test_dense_loss_ignores_unlabelled_pixels_and_unknown_classes(halves: Target) -> None:
    config = LossConfig(dense_pixels=64)
    halves.semantic[:, 16:] = -1
    similarity = torch.zeros(1, 5, 8, 8, requires_grad=True)
    known = torch.tensor([[True, False, True]])
    loss = dense_word_loss(similarity, ROWS, CLASS_INDEX, halves.semantic[None], known, config)
    assert loss.item() == pytest.approx(torch.log(torch.tensor(2.0)).item())  # two classes compete
    loss.backward()
    assert similarity.grad is not None
    assert similarity.grad[..., 4:].abs().max() == 0 and similarity.grad[:, 2].abs().max() == 0
    assert similarity.grad[:, 3, :, :4].abs().min() > 0


def test_dense_loss_of_a_photo_without_labels_is_zero_with_finite_gradients(halves: Target) -> None:
    similarity = torch.zeros(1, 5, 8, 8, requires_grad=True)
    loss = dense_word_loss(similarity, ROWS, CLASS_INDEX, halves.semantic[None] * 0 - 1, ~KNOWN, LossConfig())
    loss.backward()
    assert loss.item() == 0 and similarity.grad is not None and similarity.grad.abs().max() == 0


def test_rare_classes_are_drawn_more_often() -> None:
    semantic = torch.zeros(1, 256, 256, dtype=torch.long)
    semantic[:, :16] = 1  # 1/16 of the pixels
    torch.manual_seed(0)
    similarity = torch.zeros(1, 4, 64, 64, requires_grad=True)
    config = LossConfig(dense_pixels=512)
    dense_word_loss(similarity, torch.eye(4), torch.tensor([0, 1, 2]), semantic, KNOWN, config).backward()
    assert similarity.grad is not None
    drawn = similarity.grad[0, 2] != 0
    assert drawn.sum() == 512
    assert drawn[:4].sum().item() / 512 > 0.15


def test_pilots_start_near_their_targets(halves: Target) -> None:
    empty = make_target(torch.zeros(0, 32, 32, dtype=torch.bool), [], classes=3)
    generator = torch.Generator().manual_seed(0)
    logits, assignment = make_mask_pilots([halves, empty], 6, (8, 8), generator)
    assert logits.shape == (2, 6, 8, 8)
    assert sorted(assignment[0].tolist()) == [0, 0, 0, 1, 1, 1] and assignment[1].tolist() == [-1] * 6
    assert (logits[1] < 0).all()
    small = halves.masks.float().unflatten(1, (8, 4)).unflatten(3, (8, 4)).mean((2, 4)) > 0.5
    for mask, target in zip(logits[0] > 0, assignment[0], strict=True):
        overlap = (mask & small[target]).sum() / (mask | small[target]).sum()
        assert overlap > 0.4
    assert len({tuple(mask.flatten().tolist()) for mask in logits[0] > 0}) > 2  # different noise
    again = make_mask_pilots([halves, empty], 6, (8, 8), torch.Generator().manual_seed(0))
    assert torch.equal(again[0], logits) and torch.equal(again[1], assignment)


def test_pilot_losses_use_their_fixed_targets(halves: Target) -> None:
    left = torch.where(torch.arange(8) < 4, 9.0, -9.0).expand(8, 8)
    own = torch.stack([left, -left])[None]
    scores = torch.eye(4)[None, [0, 1]] * 20
    for order, small in (([0, 1], True), ([1, 0], False)):
        logits = TinyLogits(
            (own,), (scores,), extra_mask_logits=(own[:, order],), extra_class_logits=(scores[:, order],)
        )
        losses = SetCriterion(LossConfig(points=64))(logits, [halves], pilots=torch.tensor([[0, 1]]))
        total = sum(losses[f"pilot0_{name}"].item() for name in ("class", "mask", "dice"))
        assert (total < 3.0) is small and (total > 30.0) is not small
        assert losses["layer0_class"].item() < 0.1  # the regular queries are matched without the pilots


def test_pilots_without_a_target_cost_nothing(halves: Target) -> None:
    masks, scores = torch.randn(1, 2, 8, 8), torch.randn(1, 2, 4)
    extra_masks, extra_scores = masks.clone().requires_grad_(), scores.clone().requires_grad_()
    logits = TinyLogits((masks,), (scores,), extra_mask_logits=(extra_masks,), extra_class_logits=(extra_scores,))
    losses = SetCriterion(LossConfig(points=64))(logits, [halves], pilots=torch.tensor([[-1, -1]]))
    pilots = [value for name, value in losses.items() if name.startswith("pilot")]
    torch.stack(pilots).sum().backward()
    assert sum(pilots) == 0 and extra_masks.grad is not None and extra_masks.grad.abs().max() == 0


def test_losses_are_float32_under_autocast(halves: Target) -> None:
    logits = TinyLogits((torch.randn(1, 3, 8, 8).bfloat16(),), (torch.randn(1, 3, 4).bfloat16(),))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = SetCriterion(LossConfig(points=64))(logits, [halves])
    assert {value.dtype for value in losses.values()} == {torch.float32}
