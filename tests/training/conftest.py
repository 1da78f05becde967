"""Small labelled photos that are easy to check by eye."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from eovseg.data.batches import Target


@dataclass
class TinyLogits:
    """The fields of the network's `Logits` that the criterion uses."""

    mask_logits: tuple[Tensor, ...]
    class_logits: tuple[Tensor, ...]
    pixel_embeddings: Tensor | None = None
    word_rows: Tensor | None = None
    extra_mask_logits: tuple[Tensor, ...] = ()
    extra_class_logits: tuple[Tensor, ...] = ()


def make_target(masks: Tensor, labels: list[int], classes: int) -> Target:
    """Fully labelled photo: every pixel valid and labelled, every class known; masks (M, H, W) bool."""
    size = masks.shape[-2:]
    semantic = torch.full(size, -1)
    for mask, label in zip(masks, labels, strict=True):
        semantic[mask] = label
    return Target(
        labels=torch.tensor(labels, dtype=torch.long),
        masks=masks,
        valid=torch.ones(size, dtype=torch.bool),
        labelled=torch.ones(size, dtype=torch.bool),
        known_classes=torch.ones(classes, dtype=torch.bool),
        semantic=semantic,
    )


@pytest.fixture
def halves() -> Target:
    """A 32×32 photo: class 0 on the left half, class 1 on the right half; 3 classes."""
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :, :16] = True
    masks[1, :, 16:] = True
    return make_target(masks, [0, 1], classes=3)
