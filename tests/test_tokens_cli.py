"""Promise: `relay token` and `relay audit` keep the CLI's contract, and show a token only once."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from config import Settings
from jobs.service import Jobs
from jobs.views import Role

ROOT = Path(__file__).parents[1]
ME = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
def relay(settings: Settings, tmp_path: Path):
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        env = os.environ | {
            "DATA_DIR": str(settings.data_dir),
            "PYTHONPATH": str(ROOT),
            "USER": "somebody-else",
            "LOGNAME": "somebody-else",
        }
        return subprocess.run(
            [sys.executable, "-m", "cli", *map(str, arguments)],
            capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120,
        )  # fmt: skip

    return run


def test_a_token_is_printed_once_and_alone_and_can_be_revoked(relay, jobs: Jobs) -> None:
    added = relay("token", "add", "anna", "--role", "annotator")
    assert (added.returncode, added.stderr) == (0, "")
    token = added.stdout.removesuffix("\n")
    assert "\n" not in token
    holder = jobs.tokens.holder(token)
    assert holder is not None
    assert holder.role is Role.ANNOTATOR

    listed = relay("token", "list")
    assert listed.returncode == 0
    assert listed.stdout.splitlines()[1].split()[:3] == ["anna", "annotator", "active"]
    assert token not in listed.stdout

    assert relay("token", "revoke", "anna").returncode == 0
    assert jobs.tokens.holder(token) is None
    assert "revoked" in relay("token", "list").stdout


def test_who_did_what_is_printed_oldest_first(relay, export: Path) -> None:
    relay("token", "add", "anna", "--role", "viewer")
    assert relay("submit", export).returncode == 0
    relay("token", "revoke", "anna")
    told = [line.split("  ")[1:] for line in relay("audit").stdout.splitlines()]
    assert told == [
        [ME, "token add", "anna, viewer"],
        [ME, "upload", "264", f"264.zip, {export.stat().st_size} bytes"],
        [ME, "start", "264", "run 1, initial"],
        [ME, "token revoke", "anna"],
    ]
    assert len(relay("audit", "--last", "2").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("token",),
        ("token", "add"),
        ("token", "add", "anna"),
        ("token", "add", "anna", "--role", "king"),
        ("token", "add", "key", "--role", "admin"),
        ("token", "revoke"),
        ("token", "revoke", "nobody"),
        ("audit", "--last", "-1"),
    ],
)
def test_what_is_wrong_is_one_sentence(relay, arguments: tuple[str, ...]) -> None:
    done = relay(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) <= 401
