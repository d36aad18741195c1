"""`make bench`: codec, pipeline and DeAOT figures, one after the other."""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    """Run each bench in a process of its own, so that peak memory is its own too."""
    codes = [
        subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        for name in ("codec", "pipeline", "deaot")
    ]
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
