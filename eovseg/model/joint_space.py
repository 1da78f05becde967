"""Interim: linear joint space (helper JOINT replaces this file)."""
import torch
from torch import Tensor, nn


class JointSpace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(1280, 384)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, pooled: Tensor) -> Tensor:
        return self.projection(pooled)
