"""The two alternatives to TDEE that the paper compares (App. D, Fig. 7 and 8; Table 4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EarlyAdditiveFusion(nn.Module):
    """EAF: the spatial map joins the features before decoding; decoding then goes on without a spatial embedding.

    The raw map of the spatial block (stride 16) is upsampled bilinearly to the features' size, concatenated on
    channels and brought back to C by a 3x3 convolution.
    """

    def __init__(self, channels: int, spatial_dim: int) -> None:
        super().__init__()
        self.merge = nn.Conv2d(channels + spatial_dim, channels, 3, padding=1)

    def forward(self, features: Tensor, spatial: Tensor) -> Tensor:
        """features (B, C, h, w), spatial (B, C_s, h/4, w/4) -> (B, C, h, w)."""
        spatial = F.interpolate(spatial, features.shape[-2:], mode="bilinear", align_corners=False)
        return self.merge(torch.cat([features, spatial.to(features.dtype)], dim=1))


class SemanticDrivenInteraction(nn.Module):
    """SDI: the mask embedding generates a separable convolution that is applied to the spatial embedding.

    The paper draws the block without shapes. Ours: each query's E_m gives a 3-tap depthwise kernel that runs along
    the channels of its own E_s (as DDA's), and a row of Q pointwise weights that mixes the queries' results; the sum
    with E_m is layer-normalised. With padding queries (training) the pointwise row covers the first `queries` only.
    """

    def __init__(self, channels: int, queries: int, taps: int = 3) -> None:
        super().__init__()
        self.depthwise_kernel = nn.Linear(channels, taps)
        self.pointwise_kernel = nn.Linear(channels, queries)
        self.norm = nn.LayerNorm(channels)
        self.queries = queries
        self.taps = taps

    def forward(self, mask_embedding: Tensor, spatial_embedding: Tensor) -> Tensor:
        """E_m and E_s, each (B, Q, C) -> E_I (B, Q, C)."""
        taps = self.depthwise_kernel(mask_embedding)  # (B, Q, taps)
        mixed = F.relu(correlate_channels(spatial_embedding, taps))
        pointwise = self.pointwise_kernel(mask_embedding)  # (B, Q', Q)
        mixed = pointwise @ mixed[:, : self.queries]  # (B, Q', C)
        return self.norm(mask_embedding + mixed)


def correlate_channels(value: Tensor, taps: Tensor) -> Tensor:
    """Cross-correlate each row of `value` (B, Q, C) with its own kernel `taps` (B, Q, odd length), zero-padded."""
    reach = taps.shape[-1] // 2
    padded = F.pad(value, (reach, reach))
    if torch.onnx.is_in_onnx_export():  # ONNX has no sliding windows
        width = value.shape[-1]
        parts = [padded[..., tap : tap + width] * taps[..., tap : tap + 1] for tap in range(2 * reach + 1)]
        return torch.stack(parts).sum(dim=0)
    windows = padded.unfold(-1, taps.shape[-1], 1)  # (B, Q, C, taps)
    return (windows * taps.unsqueeze(-2)).sum(dim=-1)
