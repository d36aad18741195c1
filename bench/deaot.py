"""How fast DeAOT is on this machine's processor: `python -m bench.deaot`.

480x854, generated weights of ../shared/deaot, the key frame alone in long-term memory, as the
published tool runs by default. Each case runs in a process of its own, through bench/golden.py.
Beside it stands what the reference was measured at, on another machine (../shared/deaot/README.md);
only a reference measured beside ours makes a ratio that means something.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.cost import Drift
from bench.golden import GOLDEN
from bench.machine import machine

_FRAMES = 17
_STORED = {"DeAOTT": 1.27, "R50_DeAOTL": 0.57, "SwinB_DeAOTL": None}  # frames/s of the reference


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", default="1,3", help="how many objects (1,3)")
    args = parser.parse_args()
    if not GOLDEN.is_dir():
        print(f"{GOLDEN} is not here: DeAOT needs its generated weights")
        return 0
    print(f"on {machine()}, {time.strftime('%Y-%m-%d')}")
    print("| network | objects | frames/s | CPU s per frame | reference elsewhere, frames/s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for objects in map(int, args.objects.split(",")):
            clip = Path(folder) / f"{objects}.npz"
            shown = [Drift(854, 480, objects).frame(index) for index in range(_FRAMES)]
            np.savez(
                clip,
                frames=np.stack([image for image, _ in shown]),
                ids=np.stack([labels for _, labels in shown]).astype(np.uint8),
            )
            for variant, stored in _STORED.items():
                command = [sys.executable, str(Path(__file__).parent / "golden.py")]
                command += ["--variant", variant, "--gap", "9999", "--clip", str(clip)]
                command += ["--overrides", str(GOLDEN / f"{variant}_overrides.npz")]
                command += ["--out", str(Path(folder) / "out.npz")]
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                found = re.search(r"([\d.]+) frames/s.* ([\d.]+) CPU s", said)
                assert found is not None
                rate, cost = found.groups()
                print(f"| {variant} | {objects} | {rate} | {cost} | {stored or ''} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
