"""Fusion of the spatial map with the decoder (Table 4): TDEE, and the alternatives compared in the paper (App. D).

EAF is applied once, before the decoder; TDEE and SDI fuse the embeddings of every mask in every layer. To add another
fusion of the second kind, add a module here, a line in `build_fusion` and a name in `config.Fusion`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.errors import ConfigError
from eovseg.model.config import ModelConfig
from eovseg.model.tdee import TDEE


class EarlyAggregationFusion(nn.Module):
    """EAF (Fig. 7): merges the spatial map into the features before the decoder, which uses no spatial embeddings.

    The raw map of the spatial block (stride 16) is upsampled bilinearly to the features' size, concatenated along the
    channels and projected back to C channels by a 3x3 convolution.
    """

    def __init__(self, channels: int, spatial_dim: int) -> None:
        super().__init__()
        self.merge = nn.Conv2d(channels + spatial_dim, channels, 3, padding=1)

    def forward(self, features: Tensor, spatial: Tensor) -> Tensor:
        """features (B, C, h, w), spatial (B, C_s, h/4, w/4) -> (B, C, h, w)."""
        spatial = F.interpolate(spatial, features.shape[-2:], mode="bilinear", align_corners=False)
        return self.merge(torch.cat([features, spatial.to(features.dtype)], dim=1))


class SeparableDynamicInteraction(nn.Module):
    """SDI (Fig. 8): the mask embedding generates a separable convolution that is applied to the spatial embedding.

    The paper does not give the shapes. Here each query's E_m generates a 3-tap depthwise kernel that slides along the
    channels of its E_s (as in DDA), and Q pointwise weights that mix the results of the queries; E_m is added and the
    sum layer-normalised. With extra queries (training), the pointwise weights mix only the first `queries` results.
    """

    def __init__(self, channels: int, queries: int) -> None:
        super().__init__()
        self.depthwise_kernel = nn.Linear(channels, 3)
        self.pointwise_kernel = nn.Linear(channels, queries)
        self.norm = nn.LayerNorm(channels)
        self.queries = queries

    def forward(self, mask_embedding: Tensor, spatial_embedding: Tensor) -> Tensor:
        """E_m and E_s, each (B, Q', C) -> E_I (B, Q', C); Q' is Q and any extra queries."""
        taps = self.depthwise_kernel(mask_embedding)  # (B, Q', taps)
        mixed = F.relu(correlate_channels(spatial_embedding, taps))
        pointwise = self.pointwise_kernel(mask_embedding)  # (B, Q', Q)
        mixed = pointwise @ mixed[:, : self.queries]  # (B, Q', C)
        return self.norm(mask_embedding + mixed)


def correlate_channels(value: Tensor, taps: Tensor) -> Tensor:
    """Cross-correlates each row of `value` (B, Q, C) with its own kernel `taps` (B, Q, odd length), zero-padded."""
    length, width = taps.shape[-1], value.shape[-1]
    padded = F.pad(value, (length // 2, length // 2))
    shifted = [padded[..., tap : tap + width] * taps[..., tap : tap + 1] for tap in range(length)]
    return torch.stack(shifted).sum(dim=0)


def build_fusion(config: ModelConfig) -> nn.Module | None:
    """The module of a decoder layer that fuses E_m and E_s into E_I (B, Q, C); None if E_I = E_m."""
    if config.fusion == "TDEE":
        return TDEE(config.hidden_dim)
    if config.fusion == "SDI":
        return SeparableDynamicInteraction(config.hidden_dim, config.queries)
    if config.fusion in ("none", "EAF"):  # EAF fuses before the decoder
        return None
    raise ConfigError(f"fusion={config.fusion!r} has no module; add it to `build_fusion`.")
