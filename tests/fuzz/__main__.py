"""`make fuzz`: change exports, guided by which lines of the reader they reach, for ten minutes.

Options are libFuzzer's, such as -max_total_time=60. What breaks a promise (any exception but
InputError, more than 20 s, more than 1 GiB) ends the run with exit code 77 or another but 0, and
lies in build/fuzz. `python -m tests.fuzz FILE` tries one file again.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cvat_io", "jobs.plan", "jobs.spans", "tracker.frames"]):
    from tests.fuzz import target

from tests.fuzz.corpus import FOLDER
from tests.fuzz.mutate import mutate

BUILD = Path(__file__).parents[2] / "build/fuzz"
MOST_BYTES = 1 << 17


def main() -> None:
    """Run libFuzzer; does not return."""
    (BUILD / "found").mkdir(parents=True, exist_ok=True)
    given = sys.argv[1:]
    folders = [] if any(not each.startswith("-") for each in given) else [BUILD / "found", FOLDER]
    options = (
        "-max_total_time=600",
        "-timeout=20",
        "-rss_limit_mb=1024",
        f"-max_len={MOST_BYTES}",
        f"-artifact_prefix={BUILD}/",
    )
    with tempfile.TemporaryDirectory(prefix="mask-relay-fuzz-", dir="/dev/shm") as name:
        path = Path(name) / "export.zip"

        def try_one(data: bytes) -> None:
            path.write_bytes(data)
            target.judge(path)

        def change(data: bytes, most: int, seed: int) -> bytes:
            rng = random.Random(seed)
            made = mutate(data, rng) if rng.random() < 0.9 else atheris.Mutate(data, most)
            return made[:most]

        atheris.Setup(
            [sys.argv[0], *options, *given, *map(str, folders)], try_one, custom_mutator=change
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
