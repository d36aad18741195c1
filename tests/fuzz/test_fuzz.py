"""Promise: whatever bytes an export has, it is read or refused with a sentence, in bounded memory.

A short run with fixed seeds; `make fuzz` goes on for ten minutes, guided by coverage.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.corpus import FOLDER, seeds
from tests.fuzz.mutate import mutate
from tests.fuzz.target import judge

ROOT = Path(__file__).parents[2]
CORPUS = sorted(path for path in FOLDER.iterdir() if path.is_file())
ROUNDS = 150  # changed exports for each seed
CHILD = """
import sys
from pathlib import Path
from bench.machine import peak_mb
from tests.fuzz.test_fuzz import rounds
print(rounds(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])), peak_mb())
"""


def rounds(seed: str, count: int, folder: Path) -> int:
    """Judge so many changed exports of the corpus; return how many could be tracked."""
    rng = random.Random(seed)
    sound = [path.read_bytes() for path in CORPUS]
    path = folder / "export.zip"
    taken = 0
    for number in range(count):
        data = mutate(rng.choice(sound), rng)
        path.write_bytes(data)
        try:
            taken += judge(path) == ""
        except BaseException as exc:
            (folder / "crash").write_bytes(data)
            raise AssertionError(f"round {number} of {seed}: see {folder / 'crash'}") from exc
    return taken


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_every_file_of_the_corpus_is_read_or_refused(tmp_path: Path, path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    judge(copy)


def test_the_sound_exports_reach_every_part_of_the_target(tmp_path: Path) -> None:
    """Else changes of them would fuzz nothing but the first check."""
    said = {}
    for name, data in seeds():
        (tmp_path / name).write_bytes(data)
        said[name] = judge(tmp_path / name)
    trackable = {"job.zip", "task.zip", "jpeg.zip", "webp.zip", "others.zip", "list.zip"}
    assert {name for name, sentence in said.items() if not sentence} == trackable
    assert all("no images" in said[name] for name in said.keys() - trackable)


@pytest.mark.parametrize("seed", ["one", "two", "three", "four"])
def test_changed_exports_are_read_or_refused(tmp_path: Path, seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, seed, str(ROUNDS), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    taken, most = map(float, done.stdout.split())
    assert taken > 0  # some changes leave an export sound
    assert most < 1024  # MB of this process, not of the one that started it
