"""Distributed runs on one or more machines, started with `accelerate launch -m eovseg.training ...` or torchrun.

In a single process, every function here is a no-op. In a group, all processes must call them in the same order.
"""

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as group

from eovseg.error_log import log_traceback
from eovseg.errors import ConfigError, EovsegError

# While the main process scores all predictions, the others wait, possibly longer than torch's default of ten minutes.
TIMEOUT = timedelta(hours=1)

Value = TypeVar("Value")


def start(device: str | None = None, timeout: timedelta = TIMEOUT) -> None:
    """Joins the process group that the launcher describes in the environment, if any.

    Each process uses the accelerator with its local rank, or none if `device` is "cpu". `timeout` is the timeout for
    waiting for other processes. Raises `ConfigError` if the environment is incomplete or the group cannot be joined.
    """
    processes, _ = announced()
    if group.is_initialized() or processes < 2:
        return
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ConfigError("Running several processes needs the package accelerate: pip install accelerate.") from error
    try:
        PartialState(cpu=device == "cpu" or not torch.accelerator.is_available(), timeout=timeout)
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"This process cannot join the other processes of WORLD_SIZE={processes} ({reason}). Start them all with "
            "torchrun or accelerate launch, or unset WORLD_SIZE for a single process."
        ) from error
    atexit.register(stop)


def announced() -> tuple[int, int]:
    """WORLD_SIZE and RANK, as set by a launcher; 1 and 0 without one. Raises `ConfigError` for invalid values."""
    texts = [os.environ.get(name, default) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"))]
    if not (all(text.isdecimal() for text in texts) and int(texts[1]) < int(texts[0])):
        raise ConfigError(
            f"The environment has WORLD_SIZE={texts[0]} and RANK={texts[1]}; WORLD_SIZE must be the number of "
            "processes and RANK from 0 to WORLD_SIZE - 1. Unset both for a single process."
        )
    return int(texts[0]), int(texts[1])


def stop() -> None:
    """Leaves the group."""
    if group.is_initialized():
        group.destroy_process_group()


def count() -> int:
    """Number of processes; 1 without a group."""
    return group.get_world_size() if group.is_available() and group.is_initialized() else 1


def rank() -> int:
    """Rank of this process, starting at 0."""
    return group.get_rank() if count() > 1 else 0


def is_main() -> bool:
    """Whether this is the main process, which prints and writes."""
    return rank() == 0


def total(tensor: Tensor) -> Tensor:
    """Elementwise sum of `tensor` over the processes, detached."""
    if count() > 1:
        tensor = tensor.detach().clone()
        with _connected():
            group.all_reduce(tensor)
    return tensor


def mean(tensor: Tensor) -> Tensor:
    """Elementwise mean of `tensor` over the processes, detached."""
    return total(tensor) / count() if count() > 1 else tensor


def divisor_per_process(amount: Tensor, minimum: float) -> Tensor:
    """The divisor of this process's sum for which the mean over processes equals the quotient over the full batch.

    `amount` is this process's part of the divisor; the total is clamped to at least `minimum`.
    """
    return total(amount).clamp(min=minimum) / count()


def on_any_process(flag: bool) -> bool:
    """Whether `flag` is set on any process."""
    return flag if count() == 1 else bool(total(torch.tensor(float(flag), device=_device())) > 0)


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Averages the gradients of all parameters over the processes with a single all-reduce.

    A missing gradient counts as 0 if another process has one, and stays None if no process has one.
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
    """Overwrites `tensors` with those of the main process."""
    if count() > 1:
        for tensor in tensors:
            values = tensor.detach().contiguous()
            with _connected():
                group.broadcast(values, 0)
            tensor.detach().copy_(values)


def gather(value: Value) -> list[Value] | None:
    """The (picklable) values of all processes in rank order on the main process; None on the others."""
    if count() == 1:
        return [value]
    values: list[Any] | None = [None] * count() if is_main() else None
    with _connected():
        group.gather_object(value, values)
    return values


def run_on_main(make: Callable[[], Value]) -> Value:
    """Calls `make` on the main process only and returns its result, or raises its `EovsegError`, on all processes."""
    if count() == 1:
        return make()
    answer: list[Any] = [None]
    if is_main():
        try:
            answer = [make()]
        except EovsegError as error:
            answer = [error]
    with _connected():
        group.broadcast_object_list(answer, 0)
    if isinstance(answer[0], EovsegError):
        raise answer[0]
    return answer[0]


def local_part(items: Sequence[Value]) -> Sequence[Value]:
    """This process's contiguous part of `items`; concatenated in rank order, the parts are `items`."""
    first, last = (len(items) * process // count() for process in (rank(), rank() + 1))
    return items[first:last]


@contextmanager
def _connected() -> Iterator[None]:
    """Raises an `EovsegError` instead of torch's `RuntimeError` if another process has ended or does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise EovsegError(
            f"Process {rank() + 1} of {count()} has lost the connection to the others, probably because one of them "
            f"failed; see their messages{log_traceback(error)}."
        ) from error


def _device() -> torch.device:
    """The device used for the group's communication."""
    accelerator = torch.accelerator.current_accelerator()
    return torch.device("cpu") if accelerator is None or group.get_backend() == "gloo" else accelerator
