"""Exponential moving average of the trained weights, used for evaluation and export."""

import torch
from torch import Tensor


class WeightAverage:
    """average ← d·average + (1 − d)·weights, with d = min(decay, (1 + t) / (10 + t)) at update t = 0, 1, …

    The initially smaller decay limits the influence of the first, random weights. Integer buffers are copied.
    """

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: dict[str, Tensor]) -> None:
        """Updates the average with `weights` (same names and shapes)."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in weights.items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)
