"""Scores on true masks with the XS network (untrained head): which pixels and which classifier are used."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from eovseg.evaluation.cost import parameter_counts
from eovseg.evaluation.true_masks import masks_on_grid, true_mask_scores, void_probabilities
from eovseg.model.classifier import classification_logits
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.predictor import Predictor
from eovseg.stages import Decoded
from eovseg.vocabulary import Vocabulary

WORDS = Vocabulary.parse("person, people: thing; sky: stuff; dog: thing")


@pytest.fixture(scope="module")
def network() -> EOVSeg:
    torch.manual_seed(0)
    return EOVSeg(variant_config("xs").with_changes(queries=8)).eval()


@pytest.fixture(scope="module")
def predictor(network: EOVSeg) -> Predictor:
    return Predictor(network, ["person"], device=torch.device("cpu"), text_weights="untrained")


@pytest.fixture(scope="module")
def decoded(predictor: Predictor) -> Decoded:
    image = np.random.default_rng(0).integers(0, 256, (90, 128, 3), dtype=np.uint8)
    return predictor.decode(predictor.encode_image(image, resize=False), WORDS)


def halves(height: int, width: int) -> np.ndarray:
    """Upper half, lower half and a single pixel of a photo."""
    masks = np.zeros((3, height, width), dtype=bool)
    masks[0, : height // 2] = True
    masks[1, height // 2 :] = True
    masks[2, 1, 2] = True
    return masks


def test_masks_are_resampled_to_the_grid_of_the_padded_input(decoded: Decoded) -> None:
    grid = masks_on_grid(halves(180, 256), decoded.state.features)  # the photo at twice the network's size
    assert grid.shape == (3, 24, 32)  # padded to 96 x 128
    assert grid[0].any(1).nonzero().flatten().tolist() == list(range(11))  # 45 of 90 rows: 11 cells and a quarter
    assert grid[1].any(1).nonzero().flatten().tolist() == list(range(11, 22))  # cell 22 is half padding
    assert grid[2].nonzero().tolist() == [[0, 0]]  # too small for half a cell, kept


def test_the_image_encoder_is_pooled_inside_the_true_mask(predictor: Predictor, decoded: Decoded) -> None:
    features, network = decoded.state.features, predictor.network
    grid = masks_on_grid(halves(90, 128), features)[:1]
    scores = true_mask_scores(predictor, decoded, grid, 0.4, 0.8, "geometric")["out-of-vocabulary"]
    with torch.inference_mode():
        coarse = F.interpolate(torch.where(grid, 5.0, -5.0)[None], features.dense.shape[-2:], mode="bilinear")[0, 0] > 0
        pooled = network.feature_extractor.embed_masks(features.dense, torch.where(coarse, 5.0, -5.0)[None, None])
        text, index = network.text_rows(predictor.text_embeddings(WORDS))
        logits = classification_logits(pooled, text, index, network.feature_extractor.logit_scale, 4)
    assert 0 < coarse.float().mean() < 1
    np.testing.assert_allclose(scores, logits[0, :, :-1].log_softmax(-1).numpy(), atol=1e-5)


def test_more_masks_than_kernels_and_the_weight_of_each_classifier(predictor: Predictor, decoded: Decoded) -> None:
    grid = masks_on_grid(np.tile(halves(90, 128), (4, 1, 1)), decoded.state.features)  # 12 masks, 8 kernels
    valid = np.arange(12) % 3 < 2  # the frozen image encoder cannot judge the single pixel
    for weight, classifier in ((0.0, "in-vocabulary"), (1.0, "out-of-vocabulary")):
        scores = true_mask_scores(predictor, decoded, grid, weight, weight, "geometric")
        assert scores["ensemble"].shape == (12, 3)
        both, single = scores["ensemble"][valid], scores[classifier][valid]
        relative = both - both.max(1, keepdims=True), single - single.max(1, keepdims=True)
        np.testing.assert_allclose(*relative, atol=1e-3)


def test_void_comes_from_the_kernel_that_covers_the_mask(decoded: Decoded) -> None:
    void = decoded.logits.class_logits[-1][0].softmax(-1)[:, -1]
    predicted = decoded.logits.mask_logits[-1][0] > 0
    covering = [kernel for kernel in range(8) if 0 < predicted[kernel].sum() < predicted[kernel].numel()]
    assert covering
    same = [next(k for k in range(8) if torch.equal(predicted[k], predicted[c])) for c in covering]
    np.testing.assert_allclose(void_probabilities(decoded.logits, predicted[covering]), void[same].numpy(), atol=1e-6)


def test_parameters_exclude_the_text_encoder(network: EOVSeg) -> None:
    with_text = EOVSeg(variant_config("xs").with_changes(queries=8))
    with_text.text_encoder = torch.nn.Linear(10, 10)
    counts = parameter_counts(with_text)
    assert counts == parameter_counts(network)
    assert counts["void_embedding"] == 384
    assert sum(counts.values()) == sum(parameter.numel() for parameter in with_text.parameters()) - 110
