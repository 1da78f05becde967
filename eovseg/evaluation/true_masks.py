"""The network's outputs for true regions: class scores on true masks, and void probabilities."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from eovseg.model.classifier import class_log_probabilities, in_and_out_log_probabilities
from eovseg.model.config import Ensemble
from eovseg.model.values import ImageFeatures, Logits
from eovseg.predictor import Predictor
from eovseg.stages import Decoded

# The decoder and both kinds of pooling use only the sign of a mask logit.
MASK_LOGIT = 5.0
CLASSIFIERS = ("in-vocabulary", "out-of-vocabulary", "ensemble")


def masks_on_grid(masks: np.ndarray, features: ImageFeatures) -> Tensor:
    """True masks (M, H, W) bool of a photo on the network's mask grid: (M, h, w) bool at stride 4 of the padded input.

    A cell belongs to a mask that covers more than half of it. A mask for which there is no such cell gets all cells
    that it touches.
    """
    height, width = features.image_size
    padded_height, padded_width = features.padded_size
    device = features.aggregated.device
    whole = torch.from_numpy(np.ascontiguousarray(masks)).to(device, torch.float32)[None]
    whole = F.interpolate(whole, features.image_size, mode="area")  # includes every pixel
    share = F.avg_pool2d(F.pad(whole, (0, padded_width - width, 0, padded_height - height)), 4)[0]
    half = share > 0.5
    return torch.where(half.flatten(1).any(1)[:, None, None], half, share > 0)


@torch.inference_mode()
def true_mask_scores(
    predictor: Predictor, decoded: Decoded, masks: Tensor, alpha: float, beta: float, ensemble: Ensemble
) -> dict[str, np.ndarray]:
    """Class scores (M, K) of the true masks (M, h, w) bool of a decoded photo, by classifier (`CLASSIFIERS`).

    The image encoder's features are pooled inside the true mask. The in-vocabulary classifier scores a kernel whose
    initial mask is the true one; as in training, the layers of the decoder may refine the mask.
    """
    network, features = predictor.network, decoded.state.features
    words = predictor.text_embeddings(decoded.vocabulary)
    text, class_index = network.text_rows(words)
    seen = torch.from_numpy(predictor.seen(decoded.vocabulary)).to(text.device)
    rows: dict[str, list[Tensor]] = {name: [] for name in CLASSIFIERS}
    for chunk in masks.split(network.config.queries):
        pilots = torch.where(chunk, MASK_LOGIT, -MASK_LOGIT)[None].to(features.aggregated.dtype)
        with torch.autocast(text.device.type, dtype=torch.bfloat16, enabled=predictor.dtype == "bfloat16"):
            logits = network.decode(features, words, extra_masks=pilots)
            outside, valid = network.out_of_vocabulary_logits(features, pilots, text, class_index, words.classes + 1)
        piloted = dataclasses.replace(
            logits,
            mask_logits=logits.extra_mask_logits,
            class_logits=logits.extra_class_logits,
            out_of_vocabulary_logits=outside,
            valid_masks=valid,
        )
        in_scores, out_scores = in_and_out_log_probabilities(piloted)
        both = class_log_probabilities(piloted, seen, alpha, beta, ensemble)
        for name, scores in zip(CLASSIFIERS, (in_scores, out_scores, both[..., :-1]), strict=True):
            rows[name].append(scores[0])
    return {name: torch.cat(parts).float().cpu().numpy() for name, parts in rows.items()}


@torch.inference_mode()
def void_probabilities(logits: Logits, masks: Tensor) -> np.ndarray:
    """Void probability (M,) of the kernel with the highest IoU with each true mask (M, h, w) bool, at stride 4."""
    predicted = (logits.mask_logits[-1][0] > 0).flatten(1).float()  # (Q, hw)
    true = masks.flatten(1).float()  # (M, hw)
    shared = true @ predicted.T
    union = true.sum(1)[:, None] + predicted.sum(1)[None] - shared
    best = (shared / union.clamp(min=1)).argmax(1)
    void = logits.class_logits[-1][0].float().softmax(-1)[:, -1]
    return void[best].cpu().numpy()
