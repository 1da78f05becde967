"""XS's joint image-text space: maps pooled features of the frozen image encoder to the space of text embeddings.

The embedding is the sum of two unit vectors:
- ConSE (Norouzi et al. 2014): the text embeddings of the 1,000 ImageNet class names, weighted by the classifier's
  probabilities. Nothing is trained, so it favours no word and keeps the vocabulary open.
- a linear projection, trained on labelled regions and distilled from the classifier (`eovseg.training.joint_learning`).
  It adds classes that ImageNet lacks: person, sky, road, grass, wall. It may also read finer maps of the encoder.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_CLASSES = 1000


class JointSpace(nn.Module):
    """Maps pooled features (..., F) to the text space (..., 384).

    The first 1280 are those of the ImageNet classifier. `fine` more follow, and then their squares, if the projection
    also reads finer maps.
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

    def __init__(
        self, features: int = 1280, dimension: int = 384, classes: int = IMAGENET_CLASSES, fine: int = 0
    ) -> None:
        super().__init__()
        self.fine = fine
        total = features + 2 * fine
        self.projection = nn.Linear(total, dimension)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # log of the inverse temperature
        self.register_buffer("feature_mean", torch.zeros(total))
        self.register_buffer("feature_std", torch.ones(total))
        self.register_buffer("classifier_weight", torch.zeros(classes, features))
        self.register_buffer("classifier_bias", torch.zeros(classes))
        self.register_buffer("class_embeddings", torch.zeros(classes, dimension))  # unit rows
        self.register_buffer("conse_weight", torch.tensor(0.0))

    def forward(self, pooled: Tensor) -> Tensor:
        """Embeddings (..., 384), not normalised, of features (..., F) averaged inside a mask."""
        learned = F.normalize(self.project(pooled), dim=-1)
        return learned + self.conse_weight * F.normalize(self.conse(pooled), dim=-1)

    def project(self, pooled: Tensor) -> Tensor:
        """The learned part: (..., F) -> (..., 384), not normalised."""
        return self.projection(self.standardised(pooled))

    def standardised(self, pooled: Tensor) -> Tensor:
        """Input of the projection: (..., F) -> (..., F), with the deviation inside the mask instead of mean squares."""
        return (self.moments(pooled) - self.feature_mean) / self.feature_std

    def moments(self, pooled: Tensor) -> Tensor:
        """Means and deviations (..., F) from means and mean squares."""
        if not self.fine:
            return pooled
        last, mean, square = pooled.split((pooled.shape[-1] - 2 * self.fine, self.fine, self.fine), dim=-1)
        return torch.cat([last, mean, (square - mean * mean).clamp_min(0).sqrt()], dim=-1)

    def class_probabilities(self, pooled: Tensor) -> Tensor:
        """The ImageNet classifier applied to a region: (..., F) -> probabilities (..., 1000)."""
        return F.linear(
            pooled[..., : self.classifier_weight.shape[1]], self.classifier_weight, self.classifier_bias
        ).softmax(-1)

    def conse(self, pooled: Tensor) -> Tensor:
        """The untrained part, class name embeddings weighted by the classifier: (..., F) -> (..., 384)."""
        return self.class_probabilities(pooled) @ self.class_embeddings
