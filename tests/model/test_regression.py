"""Mask regression: it completes masks from the photo's own features, keeps their area and equals the closed form."""

import pytest
import torch

from eovseg.fast.regression import FastMaskRegression
from eovseg.model.config import ModelConfig, variant_config
from eovseg.model.positions import position_terms
from eovseg.model.regression import RIDGE, MaskRegression


@pytest.fixture
def features() -> torch.Tensor:
    """Two photos (2, 16, 20, 24) with noise, and one direction that tells their left third from the rest."""
    torch.manual_seed(0)
    noise = torch.randn(2, 16, 20, 24, dtype=torch.float64)
    noise[:, :, :, :8] += 3 * torch.randn(2, 16, 1, 1, dtype=torch.float64)
    return noise


def iou(mask: torch.Tensor, true: torch.Tensor) -> float:
    return float((mask & true).sum() / (mask | true).sum())


def test_a_partial_mask_grows_onto_cells_that_look_alike(features: torch.Tensor) -> None:
    true = torch.zeros(20, 24, dtype=torch.bool)
    true[:, :8] = True
    given = true.clone()
    given[:, 5:8] = False  # a part is missing,
    given[:6, 10:20] = True  # and as many cells too many; the kernel is not sure of either
    logits = torch.where(given, 2.0, -2.0).double() * torch.where(given == true, 1.0, 0.3)
    logits = logits.expand(2, 1, -1, -1)
    found = MaskRegression.on(features)(logits)
    for one in found[:, 0]:
        assert iou(one > 0, true) > iou(given, true) + 0.2


def test_the_fit_equals_the_closed_form_and_keeps_the_area(features: torch.Tensor) -> None:
    logits = torch.randn(2, 5, 20, 24, dtype=torch.float64)
    pixels = features.flatten(2)
    pixels = pixels - pixels.mean(-1, keepdim=True)
    pixels = pixels / pixels.norm(dim=1, keepdim=True)
    columns = torch.cat([pixels, position_terms(features)[1:].flatten(1).expand(2, -1, -1)], dim=1)
    columns = (columns - columns.mean(-1, keepdim=True)) / columns.std(-1, correction=0, keepdim=True)
    gram = columns @ columns.mT / 480 + RIDGE * torch.eye(21, dtype=torch.float64)
    expected = torch.linalg.solve(gram, columns @ logits.flatten(2).sigmoid().mT / 480).mT @ columns
    fit = 2 * MaskRegression.on(features)(logits).flatten(2) - logits.flatten(2)
    # Equal up to the threshold that keeps the area, and a scale.
    for one, other in zip(fit.flatten(0, 1), expected.flatten(0, 1), strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 1 - 1e-9
    torch.testing.assert_close(fit.abs().mean(-1), logits.flatten(2).abs().mean(-1))
    assert ((fit > 0).sum(-1) - (logits.flatten(2) > 0).sum(-1)).abs().max() <= 1


def test_the_scale_of_the_features_does_not_matter(features: torch.Tensor) -> None:
    logits = torch.randn(2, 3, 20, 24, dtype=torch.float64)
    torch.testing.assert_close(MaskRegression.on(features)(logits), MaskRegression.on(100 * features)(logits))


@pytest.mark.parametrize("fill", [-3.0, 3.0])
def test_empty_and_full_masks_stay_finite(features: torch.Tensor, fill: float) -> None:
    found = MaskRegression.on(features.float())(torch.full((2, 2, 20, 24), fill))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("kind", [MaskRegression, FastMaskRegression])
def test_a_threshold_leaves_as_many_values_above_it(kind: type[MaskRegression]) -> None:
    values = torch.rand(2, 3, 500)
    values[:, :, :100] = 0.5  # equal values stay together
    for count in (0, 1, 250, 499, 500):
        threshold = kind.threshold(values, torch.full((2, 3, 1), count))
        above, at_least = ((values > threshold).sum(-1), (values >= threshold).sum(-1))
        assert (above <= count).all() and ((at_least > count) | (at_least == 500)).all()


def test_gradients_reach_features_and_masks(features: torch.Tensor) -> None:
    features.requires_grad_()
    logits = torch.randn(2, 3, 20, 24, dtype=torch.float64, requires_grad=True)
    MaskRegression.on(features)(logits).square().sum().backward()
    assert features.grad is not None and features.grad.abs().sum() > 0
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_only_xs_uses_it() -> None:
    assert not ModelConfig().mask_regression
    assert [variant_config(name).mask_regression for name in ("xs", "s", "m", "l")] == [True, False, False, False]
