"""Our deformable convolutions equal torchvision's."""

import pytest
import torch
from torchvision.ops import deform_conv2d

from eovseg.fast.deformable import FastDeformableUpsample, deform_by_products, deform_by_sampling


def test_sampling_equals_torchvision_with_gradients() -> None:
    torch.manual_seed(0)
    x, offset = torch.randn(2, 5, 6, 7), 2 * torch.randn(2, 18, 6, 7)  # offsets reach beyond the border
    mask, weight = torch.rand(2, 9, 6, 7), torch.randn(4, 5, 3, 3)
    results = []
    for function in (
        lambda x, o, m, w: deform_by_sampling(x, o, m, w),
        lambda x, o, m, w: deform_conv2d(x, o, w, padding=1, mask=m),
    ):
        inputs = [t.double().clone().requires_grad_() for t in (x, offset, mask, weight)]
        output = function(*inputs)
        output.square().sum().backward()
        results.append([output, *(t.grad for t in inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("size", [(6, 7), (1, 1), (1, 9)])
def test_products_equal_torchvision(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, offset = torch.randn(2, 5, *size).double(), 3 * torch.randn(2, 18, *size).double()
    offset[0, :, 0, 0] = 1e6  # far outside
    mask, weight = torch.rand(2, 9, *size).double(), torch.randn(4, 5, 3, 3).double()
    expected = deform_conv2d(x, offset, weight, padding=1, mask=mask)
    torch.testing.assert_close(deform_by_products(x, offset, mask, weight), expected)


def test_a_traced_aggregator_keeps_the_operation_whole() -> None:
    layer = FastDeformableUpsample(8, 4).eval()
    torch.nn.init.normal_(layer.deform_weight)
    with torch.no_grad():
        traced = torch.jit.trace(layer, torch.randn(1, 8, 5, 6))
        x = torch.randn(1, 8, 9, 4)
        torch.testing.assert_close(traced(x), layer(x), rtol=1e-4, atol=1e-5)
    assert "deform_conv2d" in str(traced.inlined_graph)


def test_training_and_inference_paths_agree() -> None:
    torch.manual_seed(0)
    layer = FastDeformableUpsample(8, 4).eval()
    torch.nn.init.normal_(layer.deform_weight)
    x = torch.randn(1, 8, 5, 6)
    trained = layer(x)
    with torch.no_grad():
        torch.testing.assert_close(trained, layer(x), rtol=1e-4, atol=1e-5)
