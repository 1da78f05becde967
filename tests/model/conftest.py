"""Small networks of every kind, fast enough for gradient and shape tests."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.values import TextEmbeddings

Build = Callable[..., EOVSeg]


@pytest.fixture
def build() -> Build:
    """XS with narrow layers; keyword arguments are further changes to its configuration."""

    def make(**changes: Any) -> EOVSeg:
        torch.manual_seed(0)
        small = {"hidden_dim": 32, "queries": 6, "ffn_dim": 32, "aggregator_dim": 16, "spatial_dim": 64}
        return EOVSeg(variant_config("xs").with_changes(**{**small, **changes}))

    return make


@pytest.fixture
def words() -> TextEmbeddings:
    """Five words of three classes."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(5, 384, generator=generator), dim=-1)
    return TextEmbeddings(rows, torch.tensor([0, 0, 1, 2, 2]))
