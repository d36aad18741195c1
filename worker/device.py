"""The device that a worker computes on, as far as the queue shows it to people."""

from __future__ import annotations

import sys


def gpu_memory(device: str) -> tuple[int, int] | None:
    """Bytes in use (by whomever) and in all on the GPU of `device`; None without one.

    Asks only where an engine has begun to use CUDA in this process: asking would start it.
    """
    torch = sys.modules.get("torch")
    if device == "cpu" or torch is None or not torch.cuda.is_initialized():
        return None
    try:
        free, total = torch.cuda.mem_get_info(None if device == "auto" else device)
    except RuntimeError:  # the device is in trouble: the engine will say so
        return None
    return total - free, total
