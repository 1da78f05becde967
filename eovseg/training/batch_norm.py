"""Synchronised batch normalisation on any device (torch's own does not support CPU tensors)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from eovseg import distributed


class _Normalise(torch.autograd.Function):
    """(x - mean) / deviation with statistics over all processes; also returns mean, variance (C,) and pixel count."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        pixels = wide.new_tensor(float(wide.numel() // wide.shape[1]))
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        # Combine mean and variance per process, because sums of squares suffer from cancellation.
        parts = wide.new_zeros(distributed.count(), 2 * len(mean) + 1)
        parts[distributed.rank()] = torch.cat([mean, variance, pixels[None]])
        parts = distributed.total(parts)
        means, variances, weights = parts[:, : len(mean)], parts[:, len(mean) : -1], parts[:, -1:]
        pixels = weights.sum()
        mean = (means * weights).sum(0) / pixels
        variance = ((variances + (means - mean).square()) * weights).sum(0) / pixels
        inverse = (variance + epsilon).rsqrt()
        normal = (wide - _row(mean)) * _row(inverse)
        ctx.save_for_backward(normal, inverse, pixels)
        ctx.dtype = x.dtype
        ctx.mark_non_differentiable(mean, variance, pixels)
        return normal, mean, variance, pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        normal, inverse, pixels = ctx.saved_tensors
        sums = torch.stack([gradient.sum((0, 2, 3)), (gradient * normal).sum((0, 2, 3))])
        first, second = distributed.total(sums) / pixels
        return ((gradient - _row(first) - normal * _row(second)) * _row(inverse)).to(ctx.dtype), None


class SharedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the batches of all processes; identical to it in evaluation mode.

    Gradients are those of the sum of the losses over the processes; the training loop averages all gradients over the
    processes, which gives those of the mean loss.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape and type; B, H and W may differ between processes."""
        if not self.training:
            return super().forward(x)
        normal, mean, variance, pixels = _Normalise.apply(x, self.eps)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                unbiased = variance * (pixels / (pixels - 1).clamp(min=1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        if self.affine:
            normal = normal * _row(self.weight) + _row(self.bias)
        return normal.to(x.dtype)


def share_batch_norms(network: nn.Module) -> None:
    """Replaces the trained batch norms of `network` with `SharedBatchNorm`s that share their parameters and buffers."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d and any(p.requires_grad for p in child.parameters()):
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum, child.affine, device="meta")
                for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                    setattr(shared, tensor, getattr(child, tensor))
                setattr(parent, name, shared.train(child.training))


def _row(values: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1), for broadcasting."""
    return values[:, None, None]
