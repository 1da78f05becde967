"""Which tensor of the authors' checkpoints is which tensor of the network.

Every tensor of an official file must be used or known to be unused (later ViT blocks, the ViT's text encoder, the
loss buffer); any other tensor is an error.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_BLOCK_NAMES = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
    "attn.out_proj": "attn.proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
# Official name pattern -> our name; the first match wins.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"cnn_backbone\.clip_model\.logit_scale$", "feature_extractor.logit_scale"),
    (r"cnn_backbone\.clip_model\.visual\.", "feature_extractor.visual."),
    (r"cnn_backbone\.clip_model\.", "text_encoder.clip."),
    (r"vit_backbone\.clip_model\.visual\.conv1\.", "spatial_extractor.vit.patch_embed.proj."),
    (r"vit_backbone\.clip_model\.visual\.class_embedding$", "spatial_extractor.vit.cls_token"),
    (r"vit_backbone\.clip_model\.visual\.positional_embedding$", "spatial_extractor.vit.pos_embed"),
    (r"vit_backbone\.clip_model\.visual\.ln_pre\.", "spatial_extractor.vit.norm_pre."),
    *(
        (
            rf"vit_backbone\.clip_model\.visual\.transformer\.resblocks\.(\d+)\.{re.escape(theirs)}",
            rf"spatial_extractor.vit.blocks.\1.{ours}",
        )
        for theirs, ours in _BLOCK_NAMES.items()
    ),
    *((rf"lite_aggr\.deconv\.lateral_conv{i}\.", f"aggregator.laterals.{i}.") for i in range(4)),
    *((rf"lite_aggr\.deconv\.conv_a{5 - i}\.", f"aggregator.level_projections.{i}.") for i in range(4)),
    *(
        (rf"lite_aggr\.deconv\.deform_conv{i + 1}\.{theirs}", f"aggregator.upsamplers.{i}.{ours}")
        for i in range(3)
        for theirs, ours in (
            (r"dcn_offset\.", "offset."),
            (r"dcn\.weight$", "deform_weight"),
            (r"dcn_bn\.", "deform_norm."),
            (r"up_sample\.", "upsample."),
            (r"up_bn\.", "upsample_norm."),
        )
    ),
    (r"lite_aggr\.deconv\.bias$", "aggregator.bias"),
    (r"lite_aggr\.deconv\.output_conv\.", "aggregator.output."),
    (r"lite_aggr\.loc_conv\.", "aggregator.coordinate_conv."),
    (r"light_weight_decoder\.output_upscaling\.", "spatial_upscaling."),
    (r"light_weight_decoder\.vas\.embed_conv\.depthwise\.norm\.", "vas.embed_depthwise_norm."),
    (r"light_weight_decoder\.vas\.embed_conv\.depthwise\.", "vas.embed_depthwise."),
    (r"light_weight_decoder\.vas\.embed_conv\.pointwise\.norm\.", "vas.embed_pointwise_norm."),
    (r"light_weight_decoder\.vas\.embed_conv\.pointwise\.", "vas.embed_pointwise."),
    (r"light_weight_decoder\.vas\.guide_fc\.", "vas.guide."),
    (r"light_weight_decoder\.vas\.", "vas."),
    (r"light_weight_decoder\.object_kernels\.", "decoder.object_kernels."),
    *(
        (rf"light_weight_decoder\.mask_heads\.(\d+)\.{theirs}", rf"decoder.layers.\1.{ours}")
        for theirs, ours in (
            (r"logit_scale$", "logit_scale"),
            (r"tdee\.", "fusion."),
            (r"f_atten\.weight_linear\.", "interaction.feature_attention.kernel."),
            (r"f_atten\.norm\.", "interaction.feature_attention.norm."),
            (r"f_atten_norm\.", "interaction.feature_norm."),
            (r"k_atten\.weight_linear\.", "interaction.kernel_attention.kernel."),
            (r"k_atten\.norm\.", "interaction.kernel_attention.norm."),
            (r"k_atten_norm\.", "interaction.kernel_norm."),
            (r"s_atten\.", "self_attention."),
            (r"s_atten_norm\.", "self_attention_norm."),
            (r"ffn\.layers\.0\.0\.", "ffn.0."),
            (r"ffn\.layers\.1\.", "ffn.2."),
            (r"ffn_norm\.", "ffn_norm."),
            (r"mask_fcs\.", "mask_embed."),
            (r"fc_mask\.", "mask_embed.3."),
            (r"_mask_pooling_proj\.", "feature_projection."),
            (r"_spatial_mask_pooling_proj\.", "spatial_projection."),
            (r"class_embed\.layers\.0\.", "class_embed.0."),
            (r"class_embed\.layers\.1\.", "class_embed.2."),
            (r"class_embed\.layers\.2\.", "class_embed.4."),
        )
    ),
    (r"void_embedding\.", "void_embedding."),
)
_COMPILED = tuple((re.compile(pattern), ours) for pattern, ours in _RENAMES)
# Present in the file but unused by the method: the ViT's text encoder, its final norm and projection, the loss weights.
_UNUSED = re.compile(
    r"vit_backbone\.clip_model\.(positional_embedding|text_projection|logit_scale|token_embedding\.|ln_final\.|"
    r"transformer\.|visual\.ln_post\.|visual\.proj$)|light_weight_decoder\.criterion\.empty_weight$"
)
_VIT_BLOCK = re.compile(r"spatial_extractor\.vit\.blocks\.(\d+)\.")


@dataclass(frozen=True)
class SortedKeys:
    """The keys of an official checkpoint by use; `used` maps official names to ours."""

    used: dict[str, str]
    unused: tuple[str, ...]
    unknown: tuple[str, ...]


def sort_official_keys(keys: Iterable[str], spatial_block: int = 0) -> SortedKeys:
    """Sorts official keys into used, unused and unknown; ViT blocks after `spatial_block` are unused."""
    used: dict[str, str] = {}
    unused, unknown = [], []
    for key in keys:
        ours = _rename(key)
        block = _VIT_BLOCK.match(ours or "")
        if _UNUSED.match(key) or (block and int(block[1]) > spatial_block):
            unused.append(key)
        elif ours is None:
            unknown.append(key)
        else:
            used[key] = ours
    return SortedKeys(used, tuple(unused), tuple(unknown))


def _rename(key: str) -> str | None:
    for pattern, ours in _COMPILED:
        match = pattern.match(key)
        if match:
            return match.expand(ours) + key[match.end() :]
    return None
