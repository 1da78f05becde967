import pytest
import torch

from eovseg.model.aggregator import LiteAggregator


@pytest.mark.parametrize("laterals", [None, (8, 8, 16, 16)])
def test_shapes_and_gradients(laterals: tuple[int, ...] | None) -> None:
    module = LiteAggregator((8, 16, 32, 64), 12, 20, laterals, True)
    levels = [torch.randn(2, c, 32 // s, 64 // s) for c, s in ((8, 1), (16, 2), (32, 4), (64, 8))]
    aggregated, (p5, p4, p3) = module(levels)
    assert aggregated.shape == (2, 20, 32, 64)
    assert [p.shape[-1] for p in (p5, p4, p3)] == [8, 16, 32]
    aggregated.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
