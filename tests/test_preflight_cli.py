"""Promise: `relay check --result` ends with 0: CVAT keeps all, 1: not all, 2: CVAT refuses it.

Every test runs the real command in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cvat_io.cvat_samples import document, job, mask, track, write_zip

ROOT = Path(__file__).parents[1]


def relay(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )


def result(folder: Path, *tracks: str, meta: str | None = None) -> Path:
    return write_zip(folder / "r.zip", {"annotations.xml": document(meta or job(), *tracks)})


def test_all_is_kept(tmp_path: Path) -> None:
    done = relay("check", "--result", result(tmp_path, track(mask(3))))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 masks on 1 frames" in done.stdout
    assert done.stdout.endswith("CVAT will keep all of it.\n")


def test_something_is_dropped(tmp_path: Path) -> None:
    done = relay("check", "--result", result(tmp_path, track(mask(3) + mask(4))))
    assert (done.returncode, done.stderr) == (3, "")
    assert "  frame 4, label car, track 0\n" in done.stdout


def test_all_is_refused_for_the_job_that_it_is_not_of(tmp_path: Path) -> None:
    export = tmp_path / "e.xml"
    export.write_bytes(document(job(stop=2)))
    sound = result(tmp_path, track(mask(3)))
    assert relay("check", "--result", sound).returncode == 0
    done = relay("check", "--result", sound, "--export", export)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "refuse the whole import of r.zip: a frame that the job does not have" in done.stderr
    assert "frame 3, label car, track 0" in done.stderr
    assert "Refused          1" in done.stdout


def test_what_is_to_be_checked_must_be_said(tmp_path: Path) -> None:
    sound = result(tmp_path, track(mask(3)))
    for arguments in ((), ("--export", sound), (sound, "--result", sound), ("--result", "none")):
        done = relay("check", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
