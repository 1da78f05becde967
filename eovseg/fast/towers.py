"""XS's frozen image encoder, optionally in another engine, and never in bfloat16."""

from collections.abc import Callable

import torch
from torch import Tensor

from eovseg.model.backbones import EfficientNetLite2Extractor
from eovseg.model.values import TowerFeatures

TowerOutput = tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]  # levels, dense


class FastLite2Extractor(EfficientNetLite2Extractor):
    """`EfficientNetLite2Extractor` whose encoder `program` can compute; it returns None for unsupported input."""

    program: Callable[[Tensor], TowerOutput | None] | None = None

    def forward(self, images: Tensor) -> TowerFeatures:
        """Like the plain version, without autocast: rounding to bfloat16 would accumulate over 60 narrow layers."""
        with torch.autocast(images.device.type, enabled=False):
            known = self.program(images) if self.program else None
            levels, dense = known or self.tower(images)
            return TowerFeatures(levels, self.joint_map(levels, dense))
