"""Videos and folders of images for tests, made in place."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.sequences import Sequences, SequenceView

WIDTH, HEIGHT = 64, 48


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A frame that tells its number: a bar that grows, on a ground that brightens."""
    pixels = np.full((height, width, 3), 40 + 4 * (number % 50), np.uint8)
    pixels[:, : 2 + 2 * number % width] = (200, 30, 60)
    return pixels


def image_bytes(number: int, kind: str = "PNG", **size: int) -> bytes:
    """The file of a frame."""
    file = io.BytesIO()
    Image.fromarray(picture(number, **size)).save(file, kind)
    return file.getvalue()


def make_folder(folder: Path, count: int = 5, first: int = 0) -> Path:
    """A folder whose names sort otherwise as text than as numbers: 1.png, 2.png, ... 10.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number + 1}.png").write_bytes(image_bytes(first + number))
    return folder


def make_video(path: Path, count: int = 8, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """An H.264 video with B-frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "10"}
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def zip_of(members: dict[str, bytes]) -> bytes:
    """A zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def settled(sequences: Sequences, name: str, seconds: float = 60) -> SequenceView:
    """The sequence, once it is read or refused."""
    until = time.monotonic() + seconds
    while (view := sequences.view(name)).state == "making":
        assert time.monotonic() < until, view
        time.sleep(0.05)
    return view
