"""Promise: hostile results cost `relay check --result` one sentence at most, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from tests.cvat_io.cvat_samples import document, job, mask, track
from tests.hostile import xmls, zips
from tests.hostile.conftest import everything, one_sentence
from tests.hostile.test_annotations import XML
from tests.hostile.test_archives import HOSTILE
from tests.hostile.test_memory import LITTLE, ROOT, TEXTS

CHILD = """
import resource, sys
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
import cli
code = cli.main(["check", "--result", *sys.argv[1:]])
print(peak())
sys.exit(code)
"""


def ends_well(path: Path, capfd: pytest.CaptureFixture[str]) -> int:
    """The exit code; 2 comes with one sentence, 0 and 1 with none."""
    before = everything(path.parent)
    capfd.readouterr()
    code = cli.main(["check", "--result", str(path)])
    said = capfd.readouterr()
    assert code in (0, 2, 3)
    assert "Traceback" not in said.err
    assert "\x1b" not in said.out
    if code == 2:
        one_sentence(said.err)
    else:
        assert said.err == ""
    assert everything(path.parent) == before
    return code


@pytest.mark.parametrize("name", XML)
def test_hostile_annotations(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    made: bytes | Callable[[], bytes] = XML[name][0]
    path = tmp_path / "x.xml"
    path.write_bytes(made if isinstance(made, bytes) else made())
    ends_well(path, capfd)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    ends_well(HOSTILE[name][0](tmp_path / "x.zip"), capfd)


def test_names_from_the_file_never_move_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shape = mask(3).replace("></mask>", '><attribute name="a\u202e&#10;b">x</attribute></mask>')
    path = tmp_path / "x.xml"
    path.write_bytes(document(job(), track(shape, "1&#10;2\u202e")))
    assert ends_well(path, capfd) == 3
    cli.main(["check", "--result", str(path)])
    assert all(line.isprintable() for line in capfd.readouterr().out.splitlines())


# What is read to its end, where the checksum is wrong, is smaller: reading it takes its time.
LONG: dict[str, xmls.Parts] = {name: parts for name, (parts, _) in TEXTS.items()} | {
    "track": xmls.large_track(6 * 10**7),
    "many masks": xmls._repeated(
        document(job(), track(mask(1))).removesuffix(b"</annotations>"),
        (track(mask(2) + mask(3, outside=1)) + track(mask(99))).encode() * 2**10,
        4 * 10**7,
        b"</annotations>",
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_gigabytes_are_never_held_in_memory(tmp_path: Path, name: str) -> None:
    path = zips.repeated(tmp_path / "x.zip", *LONG[name])
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env={"PATH": "", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 2, done.stderr[-2000:]
    one_sentence(done.stderr)
    assert int(done.stdout.splitlines()[-1]) < LITTLE
