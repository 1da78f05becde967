"""Synchronised batch normalisation on any device (torch's own does not support CPU tensors)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from eovseg import distributed


class _Normalise(torch.autograd.Function):
    """Batch norm with statistics over all processes; also returns mean, variance (C,) and the number of pixels.

    torch's fused kernels compute the statistics and gradients of this process, which are then corrected.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, ...]:
        _, mean, inverse = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, epsilon)
        pixels = mean.new_tensor(float(x.numel() // x.shape[1]))
        # Combine mean and variance per process, because sums of squares suffer from cancellation.
        parts = mean.new_zeros(distributed.count(), 2 * len(mean) + 1)
        parts[distributed.rank()] = torch.cat([mean, inverse.pow(-2) - epsilon, pixels[None]])
        parts = distributed.total(parts)
        means, variances, weights = parts[:, : len(mean)], parts[:, len(mean) : -1], parts[:, -1:]
        pixels = weights.sum()
        mean = (means * weights).sum(0) / pixels
        variance = ((variances + (means - mean).square()) * weights).sum(0) / pixels
        normal = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, epsilon)[0]
        ctx.save_for_backward(x, weight, mean, (variance + epsilon).rsqrt(), pixels)
        ctx.epsilon = epsilon
        ctx.mark_non_differentiable(mean, variance, pixels)
        return normal, mean, variance, pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, pixels = ctx.saved_tensors
        found, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse, True, ctx.epsilon, [True, True, True]
        )
        # `found` contains the means over this process; replace them by those over all processes.
        sums = torch.stack([of_bias, of_weight])
        first, second = sums * x.shape[1] / x.numel() - distributed.total(sums) / pixels
        slope = weight * inverse.square() * second
        offset = weight * inverse * first - slope * mean
        return torch.addcmul(found + _row(offset).to(x), x, _row(slope).to(x)), of_weight, of_bias, None


class SharedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with weight and bias over the batches of all processes; identical to it in evaluation mode.

    Gradients are those of the sum of the losses over the processes; the training loop averages all gradients over the
    processes, which gives those of the mean loss.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape and type; B, H and W may differ between processes."""
        if not self.training:
            return super().forward(x)
        normal, mean, variance, pixels = _Normalise.apply(x, self.weight, self.bias, self.eps)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                unbiased = variance * (pixels / (pixels - 1).clamp(min=1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        return normal


def share_batch_norms(network: nn.Module) -> None:
    """Replaces the trained batch norms of `network` with `SharedBatchNorm`s that share their parameters and buffers."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d and any(p.requires_grad for p in child.parameters()):
                shared = SharedBatchNorm(child.num_features, child.eps, child.momentum, device="meta")
                for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                    setattr(shared, tensor, getattr(child, tensor))
                setattr(parent, name, shared.train(child.training))


def _row(values: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1), for broadcasting."""
    return values[:, None, None]
