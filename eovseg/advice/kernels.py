"""A photo's object kernels as embeddings that can be compared with any words, not only those they were decoded with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
import torch
from torch.nn import functional as F

from eovseg.model.classifier import MAX_LOGIT_SCALE

if TYPE_CHECKING:
    from eovseg.segmenter import Segmenter
    from eovseg.stages import Decoded


@dataclass(frozen=True)
class Kernels:
    """Q kernels: unit embeddings of the trained classifier and of the image encoder (Q, D), whether the latter is valid
    (Q,) bool, the void probability (Q,), and the scales of the two classifiers' cosines.
    """

    trained: np.ndarray
    frozen: np.ndarray
    valid: np.ndarray
    void: np.ndarray
    scales: tuple[float, float]

    @classmethod
    @torch.inference_mode()
    def of(cls, predictor: "Segmenter", decoded: "Decoded") -> "Kernels":
        """The kernels of one decoded photo."""
        logits = decoded.logits
        frozen = predictor.network.embed_masks(decoded.state.features, logits.mask_logits[-1])[0]
        return cls(
            F.normalize(logits.class_embeddings[0].float(), dim=-1).cpu().numpy(),
            F.normalize(frozen.float(), dim=-1).cpu().numpy(),
            logits.valid_masks[0].cpu().numpy(),
            logits.class_logits[-1][0].float().softmax(-1)[:, -1].cpu().numpy(),
            scales(predictor),
        )

    def log_probabilities(self, rows: np.ndarray, starts: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
        """Log-probabilities (Q, K) of K classes by the geometric ensemble.

        `rows` (N, D) are the unit embeddings of all names; those of each class begin at `starts` (K,). `weight` in
        0..1, a number or (K,), is the weight of the frozen image encoder.
        """
        inside, outside = (
            scipy.special.log_softmax(np.maximum.reduceat(scale * points @ rows.T, starts, axis=1), axis=1)
            for scale, points in zip(self.scales, (self.trained, self.frozen), strict=True)
        )
        weights = np.broadcast_to(weight, starts.shape) * self.valid[:, None]
        return np.asarray(scipy.special.log_softmax((1 - weights) * inside + weights * outside, axis=1))


def scales(predictor: "Segmenter") -> tuple[float, float]:
    """The factors of the cosine in the logits of the trained classifier and of the frozen image encoder."""
    network = predictor.network
    last: Any = network.decoder.layers[-1]
    learned = (last.logit_scale, network.feature_extractor.logit_scale)
    trained, frozen = (float(scale.detach().exp().clamp(max=MAX_LOGIT_SCALE)) for scale in learned)
    return trained, frozen
