"""Promise: hostile pictures and videos end in one sentence, also where only decoding shows it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import cli
from demo.clip import make_clip
from errors import InputError
from jobs.options import RunOptions
from jobs.views import JobState, RunState
from tests.cvat_io.cvat_samples import SIZE, document, job, mask, png, track, write_zip
from tests.hostile.conftest import House, Refuse, everything, one_sentence
from tests.hostile.zips import MEMBERS
from tests.worker.loops import a_loop, running, wait_for
from tracker.frames import VideoFrames
from web.context import KEY

ROOT = Path(__file__).parents[2]


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


END = chunk(b"IEND", b"")


def raw_png(width: int, height: int, rows: bytes, *, bits: int = 1) -> bytes:
    """A grey PNG whose header and packed rows are as given, whether they fit or not."""
    head = chunk(b"IHDR", struct.pack(">2L5B", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + END


def square_of_20_000() -> bytes:
    """A sound PNG of 20,000 x 20,000 pixels."""
    return raw_png(20_000, 20_000, zlib.compress(bytes(20_000 * 2501), 9))


def test_a_huge_png_is_small_and_sound() -> None:
    data = square_of_20_000()
    assert len(data) < 50_000
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (20_000, 20_000)


BIG_SIZE = SIZE.replace("20<", "20000<").replace("10<", "20000<")


@pytest.mark.parametrize("stated", [False, True], ids=["as a small one", "as what it is"])
def test_a_png_of_20_000_by_20_000_pixels_is_refused_at_every_door(
    tmp_path: Path, refused_by_cli: Refuse, house: House, stated: bool
) -> None:
    members = MEMBERS | {"images/frame_000004.PNG": square_of_20_000()}
    if stated:
        members["annotations.xml"] = document(job(size=BIG_SIZE), track(mask(1)))
    path = write_zip(tmp_path / "x.zip", members)
    for sentence in (refused_by_cli(path), house.refuse(path)):
        assert "20000 x 20000 pixels" in sentence
        assert "MAX_IMAGE_PIXELS" in sentence


def picture(kind: str) -> bytes:
    """A picture of the size of all frames that does not shrink."""
    pixels = np.random.default_rng(1).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def damaged(data: bytes) -> bytes:
    """The same with a byte of its pixels changed; the checksum of the zip is made after."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


PIXELS: dict[str, Callable[[], bytes]] = {
    "PNG, half": lambda: picture("PNG")[: len(picture("PNG")) // 2],
    "PNG, without its end": lambda: picture("PNG")[:-30],
    "PNG, damaged": lambda: damaged(picture("PNG")),
    "PNG, no rows": lambda: raw_png(20, 10, b"", bits=8),
    "PNG, half a colour profile behind its rows": lambda: (
        raw_png(20, 10, zlib.compress(bytes(210)), bits=8)[:-12] + chunk(b"iCCP", b"a") + END
    ),
    "JPEG, half": lambda: picture("JPEG")[: len(picture("JPEG")) // 2],
    "JPEG, a third": lambda: picture("JPEG")[: len(picture("JPEG")) // 3 * 2],
    "WEBP, half": lambda: picture("WEBP")[: len(picture("WEBP")) // 2],
}


@pytest.mark.parametrize("name", PIXELS)
def test_a_picture_cut_in_the_middle_of_a_sequence_stops_tracking_with_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    members = MEMBERS | {"images/frame_000005.PNG": PIXELS[name]()}
    path = write_zip(tmp_path / "x.zip", members)
    before = everything(tmp_path)
    capfd.readouterr()
    assert cli.main(["track", str(path), "--out", str(tmp_path / "r.zip")]) == 2
    assert "images/frame_000005.PNG" in one_sentence(capfd.readouterr().err)
    assert everything(tmp_path) == before


TRACK = """
import sys
import cli
import torch, cv2, av
def peak():  # of this program alone: getrusage would count what forked it too
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
used = peak()
code = cli.main(["track", sys.argv[1], "--out", sys.argv[2]])
print(peak() - used)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "data",
    [
        raw_png(20, 10, zlib.compress(bytes(2**29), 9), bits=8),
        raw_png(20, 10, zlib.compress(bytes(11 * 20), 9), bits=8),
        png()[:-12] + struct.pack(">L", 2**31 - 1) + b"tEXt" + b"x" * 99,
    ],
    ids=["rows without end", "too many rows", "a chunk of 2 GiB"],
)
def test_pixels_behind_a_small_header_never_fill_the_memory(tmp_path: Path, data: bytes) -> None:
    """Whether such a picture is taken is the decoder's business: it takes the rows it needs."""
    path = write_zip(tmp_path / "x.zip", MEMBERS | {"images/frame_000004.PNG": data})
    done = subprocess.run(
        [sys.executable, "-c", TRACK, str(path), str(tmp_path / "r.zip")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode in (0, 2), done.stderr
    assert len(done.stderr.splitlines()) == (done.returncode == 2)
    assert int(done.stdout.splitlines()[-1]) < 2**29


def test_a_worker_says_which_picture_was_cut_and_goes_on_with_other_jobs(
    tmp_path: Path, house: House
) -> None:
    """The fault shows only when pixels are decoded: the upload is taken, the run fails."""
    jobs = house.app.extensions[KEY].jobs
    members = MEMBERS | {"images/frame_000005.PNG": PIXELS["PNG, half"]()}
    sent = house.send("cut.zip", write_zip(tmp_path / "x.zip", members).read_bytes())
    assert sent["state"] == "ready"
    for name in ("cut", "bystander"):
        jobs.start_run(name, RunOptions(engine="flow"))
    with running(a_loop(house.settings, jobs.database)):
        wait_for(jobs, "cut", JobState.FAILED)
        wait_for(jobs, "bystander", JobState.COMPLETED)
    run = jobs.job("cut").runs[0]
    assert run.state is RunState.FAILED
    assert "images/frame_000005.PNG" in one_sentence(run.error + "\n")
    assert jobs.job("bystander").runs[0].state is RunState.DONE


def video(path: Path, options: dict[str, str]) -> Path:
    with av.open(str(path), "w", options=options) as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 90, "yuv420p", 6
        for image, _ in make_clip(20, 160, 90):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("end.mp4", {}),
        ("start.mp4", {"movflags": "faststart"}),
        ("parts.mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("x.mkv", {}),
    ],
)
def test_a_cut_video_gives_its_frames_or_one_sentence_and_never_hangs(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    whole = video(tmp_path / name, options).read_bytes()
    path = tmp_path / f"cut-{name}"
    frames = 0
    for part in (0, 1, 10, 30, 50, 70, 90, 99):
        path.write_bytes(whole[: len(whole) * part // 100])
        try:
            with VideoFrames(path) as source:
                for index in range(len(source)):
                    assert source.read(index).shape == (90, 160, 3)
                    frames += 1
        except InputError as exc:
            one_sentence(f"{exc}\n")
    assert frames or name == "end.mp4"  # its index is what is cut off first


def test_a_video_with_bytes_changed_gives_frames_or_one_sentence(tmp_path: Path) -> None:
    whole = bytearray(video(tmp_path / "x.mp4", {"movflags": "faststart"}).read_bytes())
    random = np.random.default_rng(3)
    path = tmp_path / "y.mp4"
    for _ in range(25):
        data = bytearray(whole)
        for at in random.integers(0, len(data), 6):
            data[at] = int(random.integers(0, 256))
        path.write_bytes(data)
        try:
            with VideoFrames(path) as source:
                source.read(0)
                source.read(len(source) - 1)
        except InputError as exc:
            one_sentence(f"{exc}\n")
