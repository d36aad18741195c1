"""Promise: gigabytes that a small archive unpacks to are never held in memory.

Every file is read by `relay check` in a process of its own that may have 2 GiB of addresses, and
says afterwards how much memory it used at most.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cvat_io.cvat_samples import write_zip
from tests.hostile import xmls, zips
from tests.hostile.conftest import one_sentence

ROOT = Path(__file__).parents[2]
MOST_BYTES = 2**30
LITTLE = 2**29  # half of which the libraries need
CHILD = """
import resource, sys
def peak():  # of this program alone: getrusage would count what forked it too
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
import cli
code = cli.main(["check", *sys.argv[1:]])
print(peak())
sys.exit(code)
"""


def check(path: Path, **settings: str) -> tuple[int, str, int]:
    """Exit code, stderr and the most bytes of memory of `relay check`."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env={"PATH": "", "OPENBLAS_NUM_THREADS": "1"} | settings,
    )
    return done.returncode, done.stderr, int(done.stdout.splitlines()[-1])


def test_a_text_attribute_of_2_gb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = zips.repeated(tmp_path / "x.zip", *xmls.long_attribute(2 * 10**9))
    code, said, most = check(path)
    assert code == 2
    assert "MAX_ARCHIVE_RATIO" in one_sentence(said)
    assert most < LITTLE


# Where the ratio is allowed, what the XML holds is what is refused. Gaps harm nobody: they are read
# to their end, where the checksum is wrong.
TEXTS: dict[str, tuple[xmls.Parts, str]] = {
    "attribute": (xmls.long_attribute(2 * 10**9), "a shape of more than 16 MiB"),
    "shape": (xmls.wide_shape(10**8), "a shape of more than 16 MiB"),
    "head": (xmls.wide_head(10**8), "of more than 16 MiB"),
    "levels": (xmls.deep(10**6), "no well-formed XML"),
    "track": (xmls.large_track(3 * 10**8), "more than 256 MiB"),
    "gaps": (xmls.long_gaps(3 * 10**8), "is damaged"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_the_ratio_lets_through_is_bounded_all_the_same(tmp_path: Path, name: str) -> None:
    parts, words = TEXTS[name]
    path = zips.repeated(tmp_path / "x.zip", *parts)
    code, said, most = check(path, MAX_ARCHIVE_RATIO="1000000")
    assert code == 2
    assert words in one_sentence(said)
    assert most < MOST_BYTES


def test_a_million_members_cost_no_memory(tmp_path: Path) -> None:
    path = zips.count_bomb(tmp_path / "x.zip", 1_000_000, stated=1)
    code, said, most = check(path)
    assert code == 2
    assert "MAX_ARCHIVE_MEMBERS" in one_sentence(said)
    assert most < LITTLE


def test_zips_within_a_zip_are_left_packed(tmp_path: Path) -> None:
    code, said, most = check(zips.nested(tmp_path / "x.zip", 4, alone=False))
    assert (code, said) == (0, "")
    assert most < LITTLE


def test_pixels_are_never_unpacked_to_learn_a_size(tmp_path: Path) -> None:
    from tests.hostile.test_pictures import square_of_20_000

    members = zips.MEMBERS | {"images/frame_000004.PNG": square_of_20_000()}
    code, said, most = check(write_zip(tmp_path / "x.zip", members))
    assert code == 2
    assert "MAX_IMAGE_PIXELS" in one_sentence(said)
    assert most < LITTLE
