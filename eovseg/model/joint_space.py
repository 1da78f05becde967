"""XS's joint image-text space: maps pooled features of the frozen image encoder to the space of text embeddings.

The embedding is the sum of two unit vectors:
- ConSE (Norouzi et al. 2014): the text embeddings of the 1,000 ImageNet class names, weighted by the classifier's
  probabilities. Nothing is trained, so it favours no word and keeps the vocabulary open.
- a linear projection, trained on labelled regions and distilled from the classifier (`eovseg.training.joint_learning`).
  It adds classes that ImageNet lacks: person, sky, road, grass, wall.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_CLASSES = 1000


class JointSpace(nn.Module):
    """Maps pooled features (..., 1280) to the text space (..., 384).

    `conse_weight` 0 uses only the learned projection; `project` and `conse` compute the two parts separately.
    A new module is untrained: `eovseg.training.joint_learning` fills the buffers and trains the projection, and
    checkpoints contain both.
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
        """Embeddings (..., 384), not normalised, of features (..., 1280) averaged inside a mask."""
        learned = F.normalize(self.project(pooled), dim=-1)
        return learned + self.conse_weight * F.normalize(self.conse(pooled), dim=-1)

    def project(self, pooled: Tensor) -> Tensor:
        """The learned part: (..., 1280) -> (..., 384), not normalised."""
        return self.projection((pooled - self.feature_mean) / self.feature_std)

    def class_probabilities(self, pooled: Tensor) -> Tensor:
        """The ImageNet classifier applied to a region: (..., 1280) -> probabilities (..., 1000)."""
        return F.linear(pooled, self.classifier_weight, self.classifier_bias).softmax(-1)

    def conse(self, pooled: Tensor) -> Tensor:
        """The untrained part, class name embeddings weighted by the classifier: (..., 1280) -> (..., 384)."""
        return self.class_probabilities(pooled) @ self.class_embeddings
