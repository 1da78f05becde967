"""Two-way Dynamic Embedding Experts (Eq. 5 to 10): weights the mask and the spatial embedding of each kernel.

Layer names match the published checkpoints.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eovseg.model.values import RouterWeights


class TDEE(nn.Module):
    """Fuses the mask embedding E_m and the spatial embedding E_s, both (B, Q, C), into E_I (B, Q, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dynamic_layer = nn.Linear(channels, 2 * channels)
        self.input_layer = nn.Linear(channels, 2 * channels)
        self.update_router = nn.Linear(channels, channels)
        self.input_router = nn.Linear(channels, channels)
        self.norm_in = nn.LayerNorm(channels)
        self.norm_out = nn.LayerNorm(channels)
        self.input_norm_in = nn.LayerNorm(channels)
        self.input_norm_out = nn.LayerNorm(channels)
        self.fc_layer = nn.Linear(channels, channels)
        self.fc_norm = nn.LayerNorm(channels)

    def route(self, mask_embedding: Tensor, spatial_embedding: Tensor) -> tuple[Tensor, RouterWeights]:
        """E_m and E_s, each (B, Q, C) -> E_I (B, Q, C) and the weights alpha_m and alpha_s."""
        # Eq. 5 to 9: both embeddings are split into router parameters and features; the routers read the product.
        mask_parameters, mask_features = self.dynamic_layer(mask_embedding).chunk(2, dim=-1)  # P_m, F_m
        spatial_parameters, spatial_features = self.input_layer(spatial_embedding).chunk(2, dim=-1)  # P_s, F_s
        joint = mask_parameters * spatial_parameters  # P_t
        # The released implementation normalises the router outputs before the sigmoid.
        mask_weight = torch.sigmoid(self.norm_in(self.update_router(joint)))  # alpha_m
        spatial_weight = torch.sigmoid(self.input_norm_in(self.input_router(joint)))  # alpha_s
        # Eq. 10, then the last layer.
        fused = mask_weight * self.norm_out(mask_features) + spatial_weight * self.input_norm_out(spatial_features)
        fused = F.gelu(self.fc_norm(self.fc_layer(fused)))
        return fused, RouterWeights(mask_weight, spatial_weight)

    def forward(self, mask_embedding: Tensor, spatial_embedding: Tensor) -> Tensor:
        """E_m and E_s, each (B, Q, C) -> E_I (B, Q, C)."""
        return self.route(mask_embedding, spatial_embedding)[0]
