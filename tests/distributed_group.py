"""Runs a function in two gloo processes on the CPU, as started by a launcher."""

import io
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from eovseg import distributed

PROCESSES = 2
SECONDS = 180


def in_two_processes(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """The results of `function(*arguments)`, a module-level function, on each process of a group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A fork server runs the slow imports only once per test session.
    context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
    if sys.platform != "win32":
        context.set_forkserver_preload(["accelerate", "eovseg.training.loop", "eovseg.evaluation.evaluate"])
    pipes, processes = [], []
    for rank in range(PROCESSES):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_member, args=(theirs, rank, port, function, arguments), daemon=False)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        answers = [pipe.recv() if pipe.poll(SECONDS) else ("A process is silent.", b"") for pipe in pipes]
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    failures = [text for text, _ in answers if text]
    assert not failures, "\n".join(failures)
    return [torch.load(io.BytesIO(value), weights_only=False) for _, value in answers]


@contextmanager
def one_thread() -> Iterator[None]:
    """Uses as many threads as the processes of the group, because the number affects the rounding of sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _member(pipe: Connection, rank: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    announced = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": PROCESSES, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in announced.items()} | {"MASTER_ADDR": "127.0.0.1"}
    # One thread instead of accelerate's two, because OpenMP threads may deadlock in a forked process.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    try:
        distributed.start("cpu")
        # As bytes, because tensors would be fetched from a process that has already exited.
        torch.save(function(*arguments), answer := io.BytesIO())
        pipe.send(("", answer.getvalue()))
    except BaseException:
        pipe.send((traceback.format_exc(), b""))
    finally:
        distributed.stop()
