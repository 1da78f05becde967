"""Features of any block: one pass, stopped after the last block needed, with timm's own positions."""

import copy
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from analysis.features import (
    TAPS,
    channels_last,
    patch_size,
    photo_pixels,
    vit_blocks,
    vit_features,
)
from analysis.sources import HubModel, encoder_pixels, hub_source, hub_weights, spatial_source, tower_source, vit_source
from eovseg.errors import CheckpointError, ConfigError
from eovseg.model.spatial import SpatialExtractor
from eovseg.predictor import Predictor


def timm_vit(**options: object) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": 64, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 0}
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, **(sizes | options)).eval()


def sam_vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(
        "samvit_base_patch16", pretrained=False, img_size=64, embed_dim=32, depth=4, num_heads=2, window_size=2,
        global_attn_indexes=(1, 3), neck_chans=16,
    ).eval()  # fmt: skip


MODELS = {
    "plain": timm_vit,
    "registers": lambda: timm_vit(reg_tokens=4, no_embed_class=True),
    "dynamic": lambda: timm_vit(dynamic_img_size=True),
    "no class token": lambda: timm_vit(class_token=False, global_pool="avg"),
    "SAM": sam_vit,
}


@pytest.fixture(params=MODELS)
def vit(request: pytest.FixtureRequest) -> nn.Module:
    return MODELS[request.param]()


@pytest.mark.parametrize("tap", TAPS)
@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_any_block_at_any_size(vit: nn.Module, tap: str, size: tuple[int, int]) -> None:
    found = vit_features(vit, torch.randn(2, 3, *size), [0, 2, -1], tap)  # type: ignore[arg-type]
    assert {key: tuple(value.shape) for key, value in found.items()} == dict.fromkeys(
        [0, 2, -1], (2, 32, size[0] // 16, size[1] // 16)
    )


@pytest.mark.parametrize("tap", TAPS)
def test_blocks_after_the_last_one_do_not_run(vit: nn.Module, tap: str) -> None:
    counts: Counter[int] = Counter()
    for index, block in enumerate(vit_blocks(vit)):
        block.register_forward_pre_hook(lambda _m, _i, index=index: counts.update([index]))
    vit_features(vit, torch.randn(1, 3, 64, 64), [0, 2], tap)  # type: ignore[arg-type]
    assert counts == {0: 1, 1: 1, 2: 1}


def test_hooks_are_removed_afterwards(vit: nn.Module) -> None:
    before = vit(torch.ones(1, 3, 64, 64))
    vit_features(vit, torch.randn(1, 3, 64, 64), [1])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in vit.modules())
    assert torch.equal(before, vit(torch.ones(1, 3, 64, 64)))


def test_native_size_equals_the_model_itself(vit: nn.Module) -> None:
    """The last block's output, passed through the rest of the model, equals the model's own output."""
    pixels = torch.randn(1, 3, 64, 64)
    whole: dict[int, torch.Tensor] = {}
    handle = vit_blocks(vit)[-1].register_forward_hook(lambda _m, _i, out: whole.update({0: out}))
    with torch.inference_mode():
        vit(pixels)
    handle.remove()
    expected = whole[0]
    if expected.ndim == 4:
        expected = expected.flatten(1, 2)
    expected = expected[:, -16:].transpose(1, 2).unflatten(2, (4, 4))
    assert torch.equal(vit_features(vit, pixels, [3])[3], expected)


def test_the_input_of_a_block_is_the_output_of_the_previous_one(vit: nn.Module) -> None:
    pixels = torch.randn(1, 3, 64, 64)
    given = vit_features(vit, pixels, [2], "before attention")[2]
    assert torch.equal(given, vit_features(vit, pixels, [1], "output")[1])
    assert not torch.allclose(given, vit_features(vit, pixels, [2], "after attention")[2])


def test_positions_of_another_size_are_timms() -> None:
    vit, dynamic = timm_vit(), timm_vit(dynamic_img_size=True)
    pixels = torch.randn(1, 3, 32, 96)
    with torch.inference_mode():
        own = dynamic.forward_intermediates(pixels, indices=[3], intermediates_only=True, norm=False)[0]
    assert torch.equal(vit_features(vit, pixels, [3])[3], own)


FAMILIES = {
    "CLIP": ("vit_base_patch16_clip_quickgelu_224", 16),
    "DINOv2": ("vit_base_patch14_dinov2", 14),
    "DINOv2 with registers": ("vit_base_patch14_reg4_dinov2", 14),
    "DeiT III": ("deit3_small_patch16_224", 16),
    "SigLIP": ("vit_base_patch16_siglip_224", 16),
}


@pytest.mark.parametrize("grid", [(4, 4), (3, 6)], ids=["native", "other"])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_equal_timms_own(family: str, grid: tuple[int, int]) -> None:
    """Every block's output equals timm's own, at the native size and when timm is set to another size."""
    name, patch = FAMILIES[family]
    torch.manual_seed(0)
    narrow = {"depth": 2, "embed_dim": 64, "num_heads": 2, "num_classes": 0}
    vit = timm.create_model(name, pretrained=False, img_size=4 * patch, **narrow).eval()
    size = (grid[0] * patch, grid[1] * patch)
    pixels = torch.randn(1, 3, *size)
    theirs = copy.deepcopy(vit)
    if grid != (4, 4):
        theirs.set_input_size(img_size=size)
    with torch.inference_mode():
        expected = theirs.forward_intermediates(pixels, indices=[0, 1], norm=False, intermediates_only=True)
    found = vit_features(vit, pixels, [0, 1])
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert tuple(vit.patch_embed.grid_size) == (4, 4)


def test_sam_equals_timms_own_with_its_windows() -> None:
    vit = sam_vit()
    for size in ((64, 64), (32, 96)):
        pixels = torch.randn(1, 3, *size)
        with torch.inference_mode():
            expected = vit.forward_intermediates(pixels, indices=[0, 1, 2, 3], norm=False, intermediates_only=True)
        found = vit_features(vit, pixels, [0, 1, 2, 3])
        assert all(torch.equal(found[block], expected[block]) for block in range(4))


@pytest.mark.parametrize(
    ("blocks", "tap", "size", "message"),
    [
        ([4], "output", 64, "0 to 3"),
        ([], "output", 64, "0 to 3"),
        ([0], "middle", 64, "tap='middle'"),
        ([0], "output", 60, "multiples of the patch"),
    ],
)
def test_invalid_arguments_get_one_sentence(blocks: list[int], tap: str, size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vit_features(timm_vit(), torch.zeros(1, 3, size, size), blocks, tap)  # type: ignore[arg-type]


def test_photo_pixels_are_normalised_and_whole_patches() -> None:
    pixels = photo_pixels(np.full((50, 100, 3), 110, np.uint8), (100, 110, 120), (10, 10, 10), (14, 14), 140)
    assert pixels.shape == (1, 3, 70, 140)
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.0, -1.0], abs=1e-5)


def test_own_encoders_need_no_hub(predictor: Predictor, photo: np.ndarray) -> None:
    encoder = tower_source(predictor, long_side=128).extract(photo, ["stage 1", "stage 4"])
    assert encoder["stage 1"].shape == (16, 32, 24) and encoder["stage 4"].shape == (2, 4, 352)
    spatial = spatial_source(predictor, long_side=128).extract(photo, ["block 1"])
    assert spatial["block 1"].shape == (4, 8, 192)
    with pytest.raises(ConfigError, match="no layer 'stage 9'"):
        tower_source(predictor).extract(photo, ["stage 9"])


def test_spatial_block_at_its_native_size_is_timms(predictor: Predictor) -> None:
    extractor = predictor.network.spatial_extractor
    assert extractor is not None
    settings = {"class_token": False, "global_pool": "", "num_classes": 0, "final_norm": False}
    vit = VisionTransformer(256, 16, embed_dim=192, depth=1, num_heads=3, **settings).eval()
    vit.load_state_dict(extractor.vit.state_dict())
    pixels = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        assert torch.allclose(vit_features(vit, pixels, [0])[0], extractor(pixels), atol=1e-5)


def spatial_model(kind: str, blocks: int = 3) -> Predictor:
    """A predictor whose spatial extractor has several blocks; the rest of it is not used."""
    torch.manual_seed(0)
    config = SimpleNamespace(variant="xs", spatial_block=blocks - 1, pixel_mean=(0, 0, 0), pixel_std=(255, 255, 255))
    extractor = SpatialExtractor(kind, blocks - 1, 192 if kind == "own" else 768).eval()  # type: ignore[arg-type]
    network = SimpleNamespace(spatial_extractor=extractor, parameters=extractor.parameters)
    return SimpleNamespace(config=config, network=network, device=torch.device("cpu"))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["own", "CLIP", "DINOv2", "SAM"])
def test_every_block_of_the_spatial_vit_at_every_tap(kind: str, photo: np.ndarray) -> None:
    model = spatial_model(kind)
    source = spatial_source(model, long_side=128)
    assert source.layers == ("block 1", "block 2", "block 3")
    found = source.extract(photo, source.layers)
    extractor = model.network.spatial_extractor
    assert extractor is not None
    with torch.inference_mode():
        whole = channels_last(extractor(encoder_pixels(model, photo, 128)))
    assert np.array_equal(found["block 3"], whole), "the last block gives what the network reads"
    entered = source.tapped("before attention").extract(photo, ["block 2", "block 3"])
    assert np.array_equal(entered["block 2"], found["block 1"]) and np.array_equal(entered["block 3"], found["block 2"])
    middle = source.tapped("after attention")
    assert (middle.tap, middle.name) == ("after attention", source.name)
    between = middle.extract(photo, ["block 2"])["block 2"]
    assert between.shape == (4, 8, whole.shape[-1])
    assert not np.allclose(between, found["block 1"]) and not np.allclose(between, found["block 2"])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in extractor.modules())


def test_spatial_blocks_after_the_last_requested_one_do_not_run(photo: np.ndarray) -> None:
    model = spatial_model("own")
    counts: Counter[int] = Counter()
    for index, block in enumerate(vit_blocks(model.network.spatial_extractor.vit)):  # type: ignore[union-attr]
        block.register_forward_pre_hook(lambda _m, _i, index=index: counts.update([index]))
    spatial_source(model, long_side=128).extract(photo, ["block 1", "block 2"])
    assert counts == {0: 1, 1: 1}


def test_another_thread_runs_the_same_blocks_undisturbed(photo: np.ndarray) -> None:
    """The page serves several visitors: the hooks of one must not stop the pass of another."""
    model = spatial_model("own")
    extractor = model.network.spatial_extractor
    assert extractor is not None
    pixels, others = encoder_pixels(model, photo, 128), []

    def other_visitor(*_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            with ThreadPoolExecutor(1) as pool:
                others.append(pool.submit(lambda: extractor(pixels)).result())

    extractor.vit.patch_embed.proj.register_forward_hook(other_visitor)
    found = spatial_source(model, long_side=128).extract(photo, ["block 1"])["block 1"]
    assert len(others) == 1 and others[0].shape == (1, 192, 4, 8) and found.shape == (4, 8, 192)


def test_stages_of_a_cnn_have_no_taps(predictor: Predictor) -> None:
    encoder = tower_source(predictor)
    assert encoder.tapped("before attention") is encoder


def test_vit_source_names_blocks(photo: np.ndarray) -> None:
    source = vit_source("tiny", timm_vit(), long_side=96)
    assert source.layers == ("block 1", "block 2", "block 3", "block 4") and patch_size(timm_vit()) == (16, 16)
    assert source.extract(photo, ["block 1", "block 4"])["block 4"].shape == (4, 6, 32)


def test_missing_weights_get_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> nn.Module:
        raise OSError("no network")

    monkeypatch.setattr("analysis.sources.timm.create_model", offline)
    with pytest.raises(CheckpointError, match=r"DINOv2 ViT-B/14 \(346 MB\).*timm.create_model"):
        hub_source("DINOv2 ViT-B/14")
    with pytest.raises(ConfigError, match="SAM ViT-B/16"):
        hub_source("AlexNet")


def test_weights_from_a_file_and_from_the_cache(
    photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any network request, the file is found in the hub client's cache or given by path."""
    small = HubModel("vit_tiny_patch16_224", "22 MB")
    monkeypatch.setattr("analysis.sources.HUB_MODELS", {"small": small})
    assert hub_weights("small") is None
    vit = timm.create_model(small.timm_name, pretrained=False)
    file = tmp_path / "model.safetensors"
    save_file(vit.state_dict(), file)
    wanted = vit_source("small", vit, long_side=96).extract(photo, ["block 1"])["block 1"]
    found = hub_source("small", long_side=96, file=file).extract(photo, ["block 1"])["block 1"]
    assert np.allclose(found, wanted, atol=1e-5)
    asked: list[tuple[str, str]] = []

    def cached(folder: str, name: str) -> str | None:
        asked.append((folder, name))
        return str(file) if name == "pytorch_model.bin" else None

    monkeypatch.setattr("analysis.sources.try_to_load_from_cache", cached)
    assert hub_weights("small") == file
    assert asked[0][0].startswith("timm/vit_tiny") and [name for _, name in asked] == [
        "model.safetensors",
        "pytorch_model.bin",
    ]
    file.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"model.safetensors.*does not hold the weights of small"):
        hub_source("small", file=file)
