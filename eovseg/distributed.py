"""Several processes, on one machine or many, that work as one: `accelerate launch -m eovseg.training ...` or torchrun.

Alone, every function here returns at once what it was given. In a group all processes must call them in the same order.
"""

import atexit
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as group

from eovseg.errors import ConfigError, EovsegError

# The main process scores what all have predicted while the others wait; torch's ten minutes are too few for that.
PATIENCE = timedelta(hours=1)

Value = TypeVar("Value")


def start(device: str | None = None, patience: timedelta = PATIENCE) -> None:
    """Join the group that a launcher has announced in the environment; without one, do nothing.

    Each process takes the accelerator of its number on the machine, or none where `device` is "cpu". `patience`: how
    long a process waits for the others.
    """
    if group.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ConfigError("Several processes need the package accelerate: pip install accelerate.") from error
    PartialState(cpu=device == "cpu" or not torch.accelerator.is_available(), timeout=patience)
    atexit.register(stop)


def stop() -> None:
    """Leave the group."""
    if group.is_initialized():
        group.destroy_process_group()


def count() -> int:
    """Number of processes, 1 without a group."""
    return group.get_world_size() if group.is_available() and group.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0 on."""
    return group.get_rank() if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def total(tensor: Tensor) -> Tensor:
    """`tensor` summed over the processes, element by element; no gradient goes through it."""
    if count() > 1:
        tensor = tensor.detach().clone()
        group.all_reduce(tensor)
    return tensor


def mean(tensor: Tensor) -> Tensor:
    """`tensor` averaged over the processes, element by element; no gradient goes through it."""
    return total(tensor) / count() if count() > 1 else tensor


def fair_share(amount: Tensor, least: float) -> Tensor:
    """What a process divides its sum by, so that the mean over processes is the quotient of the whole batch.

    `amount` is this process's part of the divisor; the whole one is at least `least`.
    """
    return total(amount).clamp(min=least) / count()


def anywhere(flag: bool) -> bool:
    """Whether `flag` is set on any process."""
    return flag if count() == 1 else bool(total(torch.tensor(float(flag), device=_device())) > 0)


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Give every parameter the mean of its gradients over the processes, in one message.

    A parameter without a gradient counts as 0 where another process has one, and stays without where none has.
    """
    if count() == 1:
        return
    has = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = mean(torch.cat([*(gradient.flatten() for gradient in gradients), has.to(gradients[0].dtype)]))
    sizes = [p.numel() for p in parameters]
    *parts, anyone = flat.split([*sizes, len(parameters)])
    for parameter, gradient, part, wanted in zip(parameters, gradients, parts, (anyone > 0).tolist(), strict=True):
        parameter.grad = gradient.copy_(part.view_as(gradient)) if wanted else None


def copy_from_main(tensors: Sequence[Tensor]) -> None:
    """Overwrite `tensors` with the main process's."""
    if count() > 1:
        for tensor in tensors:
            values = tensor.detach().contiguous()
            group.broadcast(values, 0)
            tensor.detach().copy_(values)


def gather(value: Value) -> list[Value] | None:
    """The picklable values of all processes in order, on the main process; None on the others."""
    if count() == 1:
        return [value]
    values: list[Any] | None = [None] * count() if is_main() else None
    group.gather_object(value, values)
    return values


def from_main(make: Callable[[], Value]) -> Value:
    """What `make` returns on the main process, which alone calls it; its `EovsegError` is raised on all."""
    if count() == 1:
        return make()
    answer: list[Any] = [None]
    if is_main():
        try:
            answer = [make()]
        except EovsegError as error:
            answer = [error]
    group.broadcast_object_list(answer, 0)
    if isinstance(answer[0], EovsegError):
        raise answer[0]
    return answer[0]


def own(items: Sequence[Value]) -> Sequence[Value]:
    """This process's part of `items`: neighbours, so that the parts in the order of the processes are `items` again."""
    first, last = (len(items) * process // count() for process in (rank(), rank() + 1))
    return items[first:last]


def _device() -> torch.device:
    """Where the group's messages live."""
    accelerator = torch.accelerator.current_accelerator()
    return torch.device("cpu") if accelerator is None or group.get_backend() == "gloo" else accelerator
