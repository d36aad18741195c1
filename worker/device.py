"""The device that a worker computes on, as far as the queue shows it to people."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


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


def process_memory() -> int | None:
    """Bytes of main memory that this process holds; where only its peak is known, that one."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak or None  # in bytes on macOS, the one system that comes here
