"""Promise: `relay pull` and `relay push` keep the CLI's contract against a real HTTP server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from tests.helpers.cvat_standin import TOKEN

ROOT = Path(__file__).parents[2]


def command(settings, *arguments: object) -> dict:
    return {
        "args": [sys.executable, "-m", "cli", *map(str, arguments)],
        "cwd": settings.data_dir.parent,
        "env": os.environ
        | {
            "CVAT_URL": settings.cvat_url,
            "CVAT_TOKEN": settings.cvat_token,
            "DATA_DIR": str(settings.data_dir),
            "DOWNLOADS_PATH": str(settings.downloads_path),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
    }


def relay(settings, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        **command(settings, *arguments), capture_output=True, text=True, timeout=120
    )


def test_pull_track_push(cvat, settings, tmp_path: Path) -> None:
    out = tmp_path / "here.zip"
    done = relay(settings, "pull", 264, "--out", out)
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", str(out))
    asked = relay(settings, "pull", 264, "--out", out, "--unfinished")
    assert (asked.returncode, asked.stderr) == (0, "")
    result = tmp_path / "result.zip"
    assert relay(settings, "track", out, "--out", result, "--engine", "flow").returncode == 0
    done = relay(settings, "push", result, "--job", 264)
    assert done.stdout == "job 264: 12 masks added, 4 were there; nothing was replaced.\n"
    assert (done.returncode, done.stderr) == (0, "")
    done = relay(settings, "push", result)
    assert done.stdout == "job 264: all 16 masks are there already.\n"
    hidden = tmp_path / "hidden.zip"
    with open_export(result, Limits()) as export:
        masks = [replace(shape, occluded=shape.frame == 3) for shape in export.tracks()]
        write_result(hidden, export, masks, {})
    changed = " Attributes, occluded or z-order of 2 masks were changed.\n"
    done = relay(settings, "push", hidden)
    assert done.stdout == f"job 264: all 16 masks are there already.{changed}"
    cvat.jobs[264].shapes[0]["z_order"] = 4
    done = relay(settings, "push", result)
    assert done.stdout.startswith("job 264: all 16 masks are there already. 3 masks have other ")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pull", "999"], "There is no job 999"),
        (["pull"], "Say which job or task"),
        (["pull", "--watch", "264"], "Say which job or task"),
        (["pull", "x"], "neither a job nor a task"),
        (["pull", "--watch", "--unfinished"], "--watch leaves jobs alone"),
        (["push", "nowhere.zip"], "nowhere.zip cannot be opened"),
    ],
)
def test_what_is_wrong_is_the_one_line_on_stderr(cvat, settings, arguments, sentence: str) -> None:
    done = relay(settings, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert TOKEN not in done.stderr


def test_a_server_that_is_away_is_one_line_too(cvat, settings) -> None:
    cvat.close()
    done = relay(settings, "pull", "264")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "does not answer" in done.stderr


def test_watch_pulls_until_it_is_stopped(cvat, settings) -> None:
    cvat.jobs[264].state = "completed"
    with subprocess.Popen(
        **command(settings, "pull", "--watch", "--every", 1),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == f"job 264: {settings.downloads_path / '264.zip'}\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
