"""XS's frozen image tower, in another engine where one is given, and never in bfloat16."""

from collections.abc import Callable

import torch
from torch import Tensor

from eovseg.model.backbones import EfficientNetLite2Extractor
from eovseg.model.values import TowerFeatures

TowerOutput = tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]  # levels, dense


class FastLite2Extractor(EfficientNetLite2Extractor):
    """`EfficientNetLite2Extractor` whose tower `program` may compute; it returns None for what it cannot."""

    program: Callable[[Tensor], TowerOutput | None] | None = None

    def forward(self, images: Tensor) -> TowerFeatures:
        """As the readable one: bfloat16's rounding would add up over 60 narrow layers, and the tower is small."""
        with torch.autocast(images.device.type, enabled=False):
            known = self.program(images) if self.program else None
            return TowerFeatures(*(known or self.tower(images)))
