"""CLIP's encoders against the forward passes of open_clip, M's widths, padding, and masked attention pooling."""

import copy

import open_clip
import pytest
import timm
import torch
from torch.nn import functional as F

from eovseg.fast.text import FastClipTextEncoder, prompt_trees
from eovseg.model.backbones import ClipConvNeXt, ClipResNet
from eovseg.model.config import variant_config
from eovseg.model.network import EOVSeg
from eovseg.model.spatial import SpatialExtractor
from eovseg.model.text import ClipTextEncoder
from eovseg.model.values import TextEmbeddings


@pytest.fixture(scope="module")
def clip_m() -> open_clip.CLIP:
    torch.manual_seed(0)
    return open_clip.create_model("RN50x4", pretrained=None, force_quick_gelu=True).eval()


@pytest.mark.slow
def test_trunk_and_text_equal_open_clip(clip_m: open_clip.CLIP) -> None:
    images = torch.randn(1, 3, 288, 288)
    tokens = open_clip.get_tokenizer("RN50x4")(["a photo of a cat.", "sky"])
    with torch.inference_mode():
        image_embedding, text_embedding = clip_m.encode_image(images), clip_m.encode_text(tokens)
        extractor = ClipResNet(clip_m)
        features = extractor(images)
        assert [f.shape[1] for f in features.levels] == [320, 640, 1280, 2560] == list(extractor.channels)
        torch.testing.assert_close(clip_m.visual.attnpool(features.dense), image_embedding)
        encoder = ClipTextEncoder(copy.deepcopy(clip_m), "RN50x4").eval()
        torch.testing.assert_close(encoder.encode_prompts(["a photo of a cat.", "sky"]), text_embedding)


@pytest.mark.slow
def test_prompts_as_trees_equal_prompts_one_by_one() -> None:
    """Words with shared prompts, a word longer than the encoder's context, and no word, in trees of several sizes."""
    torch.manual_seed(0)
    clip = open_clip.create_model("RN50", pretrained=None, force_quick_gelu=True).eval()
    words = ("dog", "traffic light", "an unheard-of thing", "very " * 90, "", "dog")
    prompts = [prompt.format(word) for word in words for prompt in variant_config("s").prompts]
    tokens = open_clip.get_tokenizer("RN50")(prompts)
    with torch.inference_mode():
        expected = clip.encode_text(tokens)
        encoder = FastClipTextEncoder(clip, "RN50").eval()
        torch.testing.assert_close(encoder.encode_prompts(prompts), expected, rtol=1e-4, atol=1e-5)


def test_trees_share_common_prefixes_of_prompts() -> None:
    rows = [[9, 1, 2, 99, 0], [9, 1, 3, 99, 0], [9, 4, 99, 0, 0], [9, 1, 2, 99, 0]]
    (whole,) = prompt_trees(rows, 100)
    assert whole.tokens == [9, 1, 2, 99, 3, 99, 4, 99] and whole.depth == [0, 1, 2, 3, 2, 3, 1, 2]
    assert whole.ends == [3, 5, 7, 3], "equal prompts are merged"
    assert whole.sees[5].nonzero()[0].tolist() == [0, 1, 4, 5]
    few = list(prompt_trees(rows, 5))
    assert [tree.tokens for tree in few] == [[9, 1, 2, 99], [9, 1, 3, 99], [9, 4, 99], [9, 1, 2, 99]][: len(few)]
    assert [len(tree.ends) for tree in few] == [1, 1, 1, 1]
    assert list(prompt_trees([], 5)) == []


@pytest.mark.slow
def test_masked_attention_pooling_equals_attention_over_the_pixels_inside(clip_m: open_clip.CLIP) -> None:
    extractor, pool = ClipResNet(clip_m), clip_m.visual.attnpool
    dense, masks = torch.randn(1, 2560, 9, 9), torch.randn(1, 3, 9, 9)  # M's native grid, without resizing positions
    masks[0, 2] = -1.0  # an empty mask yields the output bias
    with torch.inference_mode():
        found = extractor.embed_masks(dense, masks)[0]
        pixels = dense.flatten(2)[0].T  # (81, C)
        for index in range(2):
            inside = masks[0, index].flatten() > 0
            keys = (pixels + pool.positional_embedding[1:])[inside][:, None]
            query = (pixels.mean(0) + pool.positional_embedding[0])[None, None]
            expected, _ = F.multi_head_attention_forward(
                query, keys, keys, 2560, pool.num_heads, None,
                torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]), None, None, False, 0.0,
                pool.c_proj.weight, pool.c_proj.bias, training=False, need_weights=False, use_separate_proj_weight=True,
                q_proj_weight=pool.q_proj.weight, k_proj_weight=pool.k_proj.weight, v_proj_weight=pool.v_proj.weight,
            )  # fmt: skip
            torch.testing.assert_close(found[index], expected[0, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[2], pool.c_proj.bias)


@pytest.mark.slow
def test_whole_m_pads_to_multiples_of_32_and_judges_valid_masks_only() -> None:
    torch.manual_seed(0)
    network = EOVSeg(variant_config("m")).eval()
    pixels = 255 * torch.rand(1, 3, 70, 101)
    padded = F.pad((pixels - network.pixel_mean) / network.pixel_std, (0, 27, 0, 26))
    words = TextEmbeddings(F.normalize(torch.randn(3, 640), dim=-1), torch.tensor([0, 1, 1]))
    with torch.inference_mode():
        features = network.encode_image(pixels)
        assert features.padded_size == (96, 128)
        torch.testing.assert_close(network.normalise(pixels), padded)
        torch.testing.assert_close(network.feature_extractor(padded).dense, features.dense)
        logits = network.decode(features, words)
    assert logits.mask_logits[-1].shape == (1, 100, 24, 32)
    small = F.interpolate(logits.mask_logits[-1], (3, 4), mode="bilinear", align_corners=False)
    assert torch.equal(logits.valid_masks, (small > 0).flatten(2).any(-1))


@pytest.mark.slow
def test_convnext_head_on_a_full_mask_equals_clips_embedding() -> None:
    torch.manual_seed(0)
    clip = open_clip.create_model("convnext_large_d_320", pretrained=None).eval()
    with torch.inference_mode():
        images = torch.randn(1, 3, 64, 96)
        expected = clip.encode_image(images)
        extractor = ClipConvNeXt(clip)
        found = extractor.embed_masks(extractor(images).dense, torch.ones(1, 1, 16, 24))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "name", "size"), [
    ("CLIP", "vit_base_patch16_clip_quickgelu_224", (224, 224)),
    pytest.param("SAM", "samvit_base_patch16", (1024, 1024), marks=pytest.mark.slow),
])  # fmt: skip
def test_spatial_block_equals_timms_own_at_its_native_size(kind: str, name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, depth=2).eval()
    torch.nn.init.normal_(model.pos_embed, std=0.1)
    extractor = SpatialExtractor(kind, 1).eval()  # type: ignore[arg-type]
    extractor.vit.load_state_dict(model.state_dict(), strict=False)
    image = torch.randn(1, 3, *size)
    with torch.inference_mode():
        expected = model.forward_intermediates(image, indices=[1], norm=False, intermediates_only=True)[0]
        torch.testing.assert_close(extractor(image), expected, rtol=1e-4, atol=1e-4)
