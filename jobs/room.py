"""Whether DATA_DIR can take more: room on its disk, and leave to write."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

MIN_FREE_BYTES = 64 * 2**20  # less free disk than this takes no work
_PROBE_BYTES = 1 << 16


def trouble(data_dir: Path, *, probe: bool = False) -> str:
    """What is wrong with `data_dir`, in words that follow its name in a sentence; "" if nothing.

    `probe`: write a small file too, since a quota or a failing disk shows only then.
    """
    try:
        free = shutil.disk_usage(data_dir).free
        if not os.access(data_dir, os.W_OK):
            return f"DATA_DIR {data_dir} cannot be written"
        if free < MIN_FREE_BYTES:
            return f"only {free >> 20} MiB are free in DATA_DIR {data_dir}"
        if probe:
            _write_some(data_dir / f".probe-{uuid.uuid4().hex}")
    except OSError as exc:
        return f"DATA_DIR {data_dir} cannot be used ({exc.strerror or exc})"
    return ""


def _write_some(path: Path) -> None:
    try:
        with path.open("xb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        path.unlink(missing_ok=True)
