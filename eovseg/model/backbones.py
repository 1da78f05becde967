"""Feature extractors: the frozen CNN of CLIP, applied to the full photo, and its head for mask-pooled features.

`open_clip` builds ConvNeXt-L, RN50x4 and RN50; XS uses EfficientNet-Lite2 with a learned joint space. The head maps the
dense features inside a mask to the image-text space, which gives the out-of-vocabulary classifier (App. B).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import CheckpointError
from eovseg.model.classifier import pool_by_cover, pool_by_masks, resize_masks
from eovseg.model.config import ModelConfig
from eovseg.model.efficientnet import FEATURE_CHANNELS, load_efficientnet_lite2
from eovseg.model.joint_space import JointSpace
from eovseg.model.spatial import resize_position_embedding
from eovseg.model.text import ClipTextEncoder, MiniLMTextEncoder
from eovseg.model.values import TowerFeatures

if TYPE_CHECKING:
    import open_clip

CLIP_SIZES = {"RN50": "244 MB", "RN50x4": "402 MB", "convnext_large_d_320": "1.4 GB"}


@dataclass
class FrozenAttention:
    """CLIP's attention pooling before masking: scores (B, H, hw) and values (B, hw, H, d)."""

    score: Tensor
    value: Tensor


class ClipConvNeXt(nn.Module):
    """CLIP's ConvNeXt image encoder (variant L); its head is applied to mask-averaged features."""

    def __init__(self, clip: "open_clip.CLIP") -> None:
        super().__init__()
        self.visual = clip.visual
        self.logit_scale = nn.Parameter(clip.logit_scale.detach().clone())

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of res2..res5."""
        return tuple(info["num_chs"] for info in self.visual.trunk.feature_info)

    def forward(self, images: Tensor) -> TowerFeatures:
        trunk = self.visual.trunk
        x = trunk.stem(images)
        levels = []
        for stage in trunk.stages:
            x = stage(x)
            levels.append(x)
        return TowerFeatures((levels[0], levels[1], levels[2], levels[3]), trunk.norm_pre(x))

    def embed_masks(self, dense: Tensor, mask_logits: Tensor) -> Tensor:
        """CLIP embedding of every mask: (B, C_d, h, w), (B, Q, h', w') -> (B, Q, D), not normalised."""
        pooled = pool_by_masks(dense, mask_logits)  # (B, Q, C_d)
        flat = pooled.flatten(0, 1)[..., None, None]
        return self.visual.head(self.visual.trunk.head(flat)).unflatten(0, pooled.shape[:2])


class ClipResNet(nn.Module):
    """CLIP's ModifiedResNet image encoder (variants M and S); its head is CLIP's attention pooling, masked."""

    def __init__(self, clip: "open_clip.CLIP") -> None:
        super().__init__()
        self.visual = clip.visual
        self.logit_scale = nn.Parameter(clip.logit_scale.detach().clone())

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of res2..res5."""
        layers = (self.visual.layer1, self.visual.layer2, self.visual.layer3, self.visual.layer4)
        return tuple(layer[-1].conv3.out_channels for layer in layers)

    def forward(self, images: Tensor) -> TowerFeatures:
        visual = self.visual
        x = visual.stem(images)
        levels = []
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = layer(x)
            levels.append(x)
        return TowerFeatures((levels[0], levels[1], levels[2], levels[3]), x)

    def attention(self, dense: Tensor) -> FrozenAttention:
        """Scores and values of CLIP's attention pooling for every pixel, independent of masks."""
        pool = self.visual.attnpool
        size = (dense.shape[-2], dense.shape[-1])
        positions = resize_position_embedding(pool.positional_embedding[None], size, 1)[0]  # (1 + hw, C_d)
        tokens = dense.flatten(2).transpose(1, 2)  # (B, hw, C_d)
        query = pool.q_proj(tokens.mean(dim=1) + positions[0])  # (B, C_d)
        tokens = tokens + positions[1:]
        heads = pool.num_heads
        query = query.unflatten(-1, (heads, -1))  # (B, H, d)
        key = pool.k_proj(tokens).unflatten(-1, (heads, -1))  # (B, hw, H, d)
        value = pool.v_proj(tokens).unflatten(-1, (heads, -1))
        score = torch.einsum("bhd,bphd->bhp", query, key) / query.shape[-1] ** 0.5
        return FrozenAttention(score, value)

    def pool(self, attention: FrozenAttention, mask_logits: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        """Attention pooling inside each mask, resized to the dense map's `size` (h, w): (B, Q, h', w') -> (B, Q, D).

        All masks share one query, the mean of *all* pixels plus the first position; keys and values are the pixels
        inside the mask. An empty mask yields the output bias, as with recent attention kernels.
        """
        inside = resize_masks(mask_logits, size).flatten(2) > 0  # (B, Q, hw)
        score = attention.score.unsqueeze(1).masked_fill(~inside.unsqueeze(2), -torch.inf)  # (B, Q, H, hw)
        weights = score.softmax(-1).nan_to_num(0.0)
        return self.visual.attnpool.c_proj(torch.einsum("bqhp,bphd->bqhd", weights, attention.value).flatten(2))

    def embed_masks(self, dense: Tensor, mask_logits: Tensor) -> Tensor:
        """CLIP embedding of every mask: (B, C_d, h, w), (B, Q, h', w') -> (B, Q, D), not normalised."""
        return self.pool(self.attention(dense), mask_logits, dense.shape[-2:])


class EfficientNetLite2Extractor(nn.Module):
    """XS's image encoder: frozen EfficientNet-Lite2 with a learned joint space instead of CLIP's head.

    With `fine`, the joint space also reads the mean and deviation of the maps at strides 4, 8 and 16 inside a mask,
    which describe materials and small segments.
    """

    channels = FEATURE_CHANNELS

    def __init__(self, fine: bool = False) -> None:
        super().__init__()
        self.tower = load_efficientnet_lite2()
        self.fine = fine
        self.joint_space = JointSpace(fine=sum(FEATURE_CHANNELS[:3]) if fine else 0)

    @property
    def logit_scale(self) -> Tensor:
        """Logarithm of the inverse temperature of the joint space."""
        return self.joint_space.logit_scale

    def forward(self, images: Tensor) -> TowerFeatures:
        levels, dense = self.tower(images)
        return TowerFeatures(levels, self.joint_map(levels, dense))

    def joint_map(self, levels: tuple[Tensor, ...], dense: Tensor) -> Tensor:
        """The map that the joint space pools: `dense` (B, 1280, H/32, W/32), or with `fine` (B, 1664, H/16, W/16)."""
        return fine_map(levels, dense) if self.fine else dense

    def embed_masks(self, dense: Tensor, mask_logits: Tensor) -> Tensor:
        """Joint-space embedding of every mask: (B, F, h, w), (B, Q, h', w') -> (B, Q, 384), not normalised."""
        return self.joint_space(pool_by_cover(dense, mask_logits))


def fine_map(levels: tuple[Tensor, ...], dense: Tensor) -> Tensor:
    """The dense map, the levels at strides 4, 8 and 16, and their squares: (B, 1280 + 192 + 192, H/16, W/16)."""
    steps = zip(levels[:3], (4, 2, 1), strict=True)  # levels and their cells per cell at stride 16, along a side
    means, squares = zip(*((F.avg_pool2d(x, step), F.avg_pool2d(x * x, step)) for x, step in steps), strict=True)
    return torch.cat([F.interpolate(dense, scale_factor=2.0), *means, *squares], dim=1)


FeatureExtractor = ClipConvNeXt | ClipResNet | EfficientNetLite2Extractor


def build_towers(
    config: ModelConfig, pretrained: bool = False
) -> tuple[FeatureExtractor, ClipTextEncoder | MiniLMTextEncoder]:
    """The frozen image and text encoders of a variant.

    With `pretrained`, open_clip downloads CLIP's weights (or uses its cache); otherwise the caller loads a checkpoint.
    XS always reads its encoders from installed packages. Raises `CheckpointError` if the download fails.
    """
    if config.backbone == "efficientnet_lite2":
        return EfficientNetLite2Extractor(config.joint_maps == "fine"), MiniLMTextEncoder()
    import open_clip

    try:
        clip = open_clip.create_model(
            config.backbone,
            pretrained=config.pretrained if pretrained else None,
            force_quick_gelu=config.quick_gelu,
            device=torch.get_default_device(),
        )
    except Exception as error:  # without a network, hub clients raise many unrelated types
        raise CheckpointError(
            f"The CLIP weights {config.backbone}/{config.pretrained} ({CLIP_SIZES[config.backbone]}) cannot be "
            f"downloaded ({type(error).__name__}). Connect to the network once, copy the file to open_clip's cache, or "
            "give a full EOV-Seg checkpoint, which contains them."
        ) from error
    extractor = (ClipConvNeXt if "convnext" in config.backbone else ClipResNet)(clip)
    return extractor, ClipTextEncoder(clip, config.backbone)
