"""Matcher and losses against the released criterion, with its recorded random points."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eovseg.training.config import LossConfig
from eovseg.training.losses import SetCriterion
from tests.training.conftest import TinyLogits, make_target

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "parity"
CONFIG = LossConfig(points=64)  # the only difference of the recordings from the defaults
CLASSES = 6


class Replay:
    """Returns recorded draws in order, as many as fill the rows, and checks their shapes."""

    def __init__(self, draws: list[Tensor]) -> None:
        self.draws = draws

    def __call__(self, rows: Sequence[int], points: int) -> Tensor:
        draw = self.draws.pop(0)
        while len(draw) < sum(rows):
            draw = torch.cat([draw, self.draws.pop(0)])
        assert draw.shape == (sum(rows), points, 2)
        return draw


@pytest.mark.parametrize("name", ["b2", "b3_empty", "b1_allempty"])
def test_matches_losses_and_gradients_equal_the_released_criterion(name: str) -> None:
    recorded = {k: torch.from_numpy(v) for k, v in np.load(RECORDINGS / f"mod_criterion_{name}.npz").items()}
    batch = recorded["pred_logits"].shape[0]
    class_logits = recorded["pred_logits"].clone().requires_grad_()
    mask_logits = recorded["pred_masks"].clone().requires_grad_()
    targets = [
        make_target(recorded[f"masks{b}"].bool(), recorded[f"labels{b}"].tolist(), CLASSES) for b in range(batch)
    ]
    replay = Replay([recorded[f"draw{i}"] for i in range(batch + 2)])
    criterion = SetCriterion(CONFIG, draw=replay)
    losses = criterion(TinyLogits((mask_logits,), (class_logits,)), targets)

    assert not replay.draws
    for b, (queries, columns) in enumerate(criterion.matches[0]):
        assert queries.tolist() == recorded[f"match_src{b}"].tolist()
        assert columns.tolist() == recorded[f"match_tgt{b}"].tolist()
    for ours, theirs in (("class", "ce"), ("mask", "mask"), ("dice", "dice")):
        torch.testing.assert_close(losses[f"layer0_{ours}"], recorded[f"weighted_loss_{theirs}"], rtol=1e-5, atol=1e-6)
    torch.stack(list(losses.values())).sum().backward()
    for ours, theirs in ((class_logits.grad, "grad_logits"), (mask_logits.grad, "grad_masks")):
        assert ours is not None
        scale = max(recorded[theirs].abs().max().item(), 1e-8)
        assert (ours - recorded[theirs]).abs().max().item() <= 1e-4 * scale


def test_layers_are_matched_separately() -> None:
    masks = torch.zeros(1, 32, 32, dtype=torch.bool)
    masks[0, :16] = True
    good = torch.where(torch.arange(8)[:, None] < 4, 8.0, -8.0).expand(8, 8)
    first = torch.stack([good, -good])[None]
    swapped = torch.stack([-good, good])[None]
    scores = torch.zeros(1, 2, 3)
    criterion = SetCriterion(CONFIG)
    criterion(TinyLogits((first, swapped), (scores, scores)), [make_target(masks, [0], 2)])
    assert [layer[0][0].tolist() for layer in criterion.matches] == [[0], [1]]
