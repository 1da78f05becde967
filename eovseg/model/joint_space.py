"""XS's image-text joint space: pooled features of the frozen image tower become points among the text embeddings.

Two parts, both of unit length, are summed:
- ConSE (Norouzi et al. 2014): the ImageNet classifier's probabilities weigh the text embeddings of its 1,000 class
  names. Nothing is learned, so it knows no word better than another and keeps the space open.
- a linear projection, learned on labelled regions and distilled from the classifier (`eovseg.training.joint_learning`).
  It brings what ImageNet lacks: person, sky, road, grass, wall.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_CLASSES = 1000


class JointSpace(nn.Module):
    """Maps pooled features (..., 1280) to the text space (..., 384).

    `conse_weight` 0 leaves the learned projection alone; `project` and `conse` give the two parts alone.
    A new module is blank: `eovseg.training.joint_learning` fills the buffers and learns the rest, a checkpoint restores
    all of it.
    """

    feature_mean: Tensor
    feature_std: Tensor
    classifier_weight: Tensor
    classifier_bias: Tensor
    class_embeddings: Tensor
    conse_weight: Tensor

    def __init__(self, features: int = 1280, dimension: int = 384, classes: int = IMAGENET_CLASSES) -> None:
        super().__init__()
        self.projection = nn.Linear(features, dimension)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # log of the inverse temperature
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_std", torch.ones(features))
        self.register_buffer("classifier_weight", torch.zeros(classes, features))
        self.register_buffer("classifier_bias", torch.zeros(classes))
        self.register_buffer("class_embeddings", torch.zeros(classes, dimension))  # unit rows
        self.register_buffer("conse_weight", torch.tensor(0.0))

    def forward(self, pooled: Tensor) -> Tensor:
        """Embeddings (..., 384), not normalised, of mean features (..., 1280) under a mask."""
        learned = F.normalize(self.project(pooled), dim=-1)
        return learned + self.conse_weight * F.normalize(self.conse(pooled), dim=-1)

    def project(self, pooled: Tensor) -> Tensor:
        """The learned part: (..., 1280) to (..., 384), not normalised."""
        return self.projection((pooled - self.feature_mean) / self.feature_std)

    def class_probabilities(self, pooled: Tensor) -> Tensor:
        """The ImageNet classifier on a region: (..., 1280) to probabilities (..., 1000)."""
        return F.linear(pooled, self.classifier_weight, self.classifier_bias).softmax(-1)

    def conse(self, pooled: Tensor) -> Tensor:
        """The untrained part: class names' embeddings, weighted by the classifier; (..., 1280) to (..., 384)."""
        return self.class_probabilities(pooled) @ self.class_embeddings
