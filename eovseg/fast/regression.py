"""Mask regression for CPUs, where numpy sorts ten times as fast as torch."""

import numpy as np
import torch
from torch import Tensor

from eovseg.model.regression import MaskRegression, at_count


class FastMaskRegression(MaskRegression):
    """`MaskRegression` that finds its thresholds with numpy; in a traced graph and on GPUs, with torch."""

    @staticmethod
    def threshold(values: Tensor, count: Tensor) -> Tensor:
        """Like the plain version."""
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined, no-untyped-call]
        if traced or values.device.type != "cpu":
            return MaskRegression.threshold(values, count)
        return at_count(torch.from_numpy(np.sort(values.numpy(), axis=-1)), count)
