"""The dtypes used by a prediction: not every GPU supports float64, and not every operation supports bfloat16."""

import warnings
from typing import Any, get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import eovseg
from eovseg.assets import asset_path
from eovseg.choices import Task

WORDS = "person, people: thing; car; bus; road; sky: stuff; tree; building; sidewalk, pavement: stuff"
CONVOLUTION = "aten.conv2d.default"
PHOTO = asset_path("photos/paris-street.jpg")
pytestmark = pytest.mark.filterwarnings("ignore:dtype='bfloat16' is slower")


class Types(TorchDispatchMode):
    """Records every operation by the dtypes of its inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: dict[torch.dtype, set[str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, made)):
            if isinstance(leaf, torch.Tensor):
                self.operations.setdefault(leaf.dtype, set()).add(str(func))
        return made


# bfloat16 that the processor does not compute itself takes several times as long.
@pytest.fixture(scope="module", params=["float32", pytest.param("bfloat16", marks=pytest.mark.slow), "float64"])
def predictor(request: pytest.FixtureRequest, xs: eovseg.Predictor) -> eovseg.Predictor:
    if request.param == "bfloat16":
        return eovseg.load("xs", device="cpu", dtype="bfloat16")
    return xs if request.param == "float32" else request.getfixturevalue("xs_float64")


def test_float64_only_if_requested(predictor: eovseg.Predictor) -> None:
    predictor.clear_cache()
    with Types() as seen:
        for task in get_args(Task):
            result = predictor(PHOTO, WORDS, task=task, background="grass; water", void_threshold=1.0)
            assert result.segments, "all operations were recorded"
    used = seen.operations
    if predictor.dtype == "float64":
        assert CONVOLUTION in used[torch.float64], "the check is effective"
    else:
        assert used.get(torch.float64, set()) == set()
    assert (CONVOLUTION in used.get(torch.bfloat16, set())) == (predictor.dtype == "bfloat16")


def test_other_types_agree_with_float32(predictor: eovseg.Predictor, xs: eovseg.Predictor) -> None:
    tolerance = {"float32": 0.0, "bfloat16": 0.1, "float64": 1e-3}[predictor.dtype]
    one, other = (p.raw(PHOTO, WORDS, resize=True).mask_logits[0].double() for p in (xs, predictor))
    assert float((other - one).abs().mean()) <= tolerance * float(one.max() - one.min())
    assert torch.equal(one, other) == (predictor is xs), "another dtype was used"


@pytest.mark.parametrize("able", [True, False])
def test_emulated_bfloat16_gets_a_warning(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eovseg.loading.has_bfloat16", lambda _: able)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")  # Objects that other tests left may be collected, and warn, meanwhile.
        warnings.filterwarnings("always", message="dtype=")
        predictor = eovseg.load("xs", device="cpu", dtype="bfloat16")
    sentence = "dtype='bfloat16' is slower than float32 here: cpu has no hardware support for it, so torch emulates it."
    assert [str(warning.message) for warning in told] == ([] if able else [sentence])
    assert predictor.dtype == "bfloat16", "the numbers are those of bfloat16 on every processor"
