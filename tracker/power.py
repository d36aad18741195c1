"""How much of the machine the engine uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tracker.engines import Power


@contextmanager
def working(power: Power) -> Iterator[None]:
    """Set the threads of this process's libraries for the time of the block.

    Numbers too small to matter are taken for zero meanwhile: they occur in training and cost some
    processors a hundred times the normal. Threads that are born in the block inherit it.
    """
    threads = power.threads or cores()
    torch.set_flush_denormal(True)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread for the time of the block, for networks on small pictures.

    There two threads gain next to nothing on a quiet machine, and beside other work they wait for
    each other: a look then takes three times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def product(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product of two matrices on PyTorch's threads, which `one_thread` rules; NumPy's not."""
    one, other = (torch.from_numpy(np.ascontiguousarray(side)) for side in (first, second))
    return np.asarray((one @ other).numpy(), dtype=np.float32)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def precision(device: str) -> torch.dtype:
    """In which numbers networks run there: bfloat16 on processors that multiply it.

    That halves the time of a look and moves J&F by less than a seed does (docs/quality.md).
    Training computes in float32, on features that these numbers made.
    """
    able = torch.cpu.get_capabilities()
    brief = able.get("avx512_bf16") or able.get("amx_bf16")
    return torch.bfloat16 if device == "cpu" and brief else torch.float32


def device_of(power: Power) -> str:
    """The device in PyTorch's words: the CPU where the one that was asked for is not there."""
    return power.device if torch.cuda.is_available() else "cpu"
