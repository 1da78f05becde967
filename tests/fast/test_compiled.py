"""The compiled image half: torch's results, one program per size, and an error without a compiler."""

import shutil
from typing import Any

import pytest
import torch

from eovseg.benchmark.measure import Case
from eovseg.errors import ConfigError
from eovseg.fast import compiled, optimise
from eovseg.fast.compiled import CompiledImageHalf
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg


@pytest.fixture(scope="module")
def network() -> EOVSeg:
    torch.manual_seed(0)
    narrow = {"hidden_dim": 32, "queries": 6, "ffn_dim": 32, "aggregator_dim": 16, "spatial_dim": 64}
    return EOVSeg(variant_config("xs").with_changes(**narrow)).eval()


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_compiled_numbers(network: EOVSeg) -> None:
    half, images = CompiledImageHalf(optimise(network)), torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        wanted, found = half.folded(images, (60, 90)), half(images, (60, 90))
    assert found.image_size == (60, 90) and found.padded_size == (64, 96)
    for name in ("aggregated", "dense", "spatial", "pixel_embeddings"):
        one, other = getattr(wanted, name), getattr(found, name)
        assert (one - other).abs().max() <= 1e-4 * (one.max() - one.min()), name


def test_one_program_per_size_and_a_bounded_cache(network: EOVSeg, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def stand_in(function: Any, **options: Any) -> Any:
        made.append(options)
        return function

    monkeypatch.setattr(torch, "compile", stand_in)
    monkeypatch.setattr(compiled, "CACHED_SIZES", 2)
    half = CompiledImageHalf(optimise(network))
    for width in (64, 96, 64, 128, 64, 96):
        with torch.inference_mode():
            half(torch.zeros(1, 3, 32, width), (32, width))
    assert len(made) == 4, "96 was evicted for 128 and compiled again"
    assert all(options == {"dynamic": False, "mode": None} for options in made)


@pytest.mark.slow
def test_more_sizes_than_torch_compiles_for_one_function(network: EOVSeg, monkeypatch: pytest.MonkeyPatch) -> None:
    """Needs no compiler: torch traces each program and then runs it without compilation."""
    monkeypatch.setattr(compiled, "_OPTIONS", {"backend": "eager"})
    half = CompiledImageHalf(optimise(network))
    limits = torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True)
    with torch.inference_mode(), limits:
        for width in (32, 64, 96, 64):
            images = torch.randn(1, 3, 32, width)
            found, wanted = half(images, (32, width)), half.folded(images, (32, width))
            torch.testing.assert_close(found.aggregated, wanted.aggregated)


def test_a_missing_compiler_is_reported(network: EOVSeg, monkeypatch: pytest.MonkeyPatch) -> None:
    class InductorError(Exception):
        """Has the name of torch's exception."""

    message = "InvalidCxxCompiler: No working C++ compiler found in torch._inductor.config.cpp.cxx"

    def fail(*_: Any) -> None:
        raise InductorError(message)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    with pytest.raises(ConfigError, match=r"found no compiler \(C\+\+, or Triton on GPUs\); use backend 'torch'\.$"):
        CompiledImageHalf(optimise(network))(torch.zeros(1, 3, 32, 32), (32, 32))
    message = "RuntimeError: out of memory"
    with pytest.raises(InductorError, match="out of memory"):  # other errors are not changed
        CompiledImageHalf(optimise(network))(torch.zeros(1, 3, 32, 32), (32, 32))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert Case("xs", "compile").unsupported_reason() == "no C++ compiler for torch.compile"
