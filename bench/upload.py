"""How fast a large export arrives, and how little memory it takes: `python -m bench.upload`.

Starts a real server and sends it an export such as CVAT writes (`--gigabytes`, default 10, of 1e9
bytes; stored PNG files of noise), once in pieces under /api/uploads with the connection cut in the
middle of it, and once whole by POST /api/jobs. Seconds are until the answer, with hashing, looking
the archive through and registering it. Needs three times the size on the disk of the temp folder.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from bench.machine import machine
from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import Label, MaskShape

SIDE = 2048  # pixels; an image has 12.6 MB
PIECE = 64 * 2**20
TARGET_MB = 100
PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
import server
server.patch("threading")
import config
server.serve(config.load(), "threading")
"""


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: object = None
    ) -> http.client.HTTPResponse:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=900)
        connection.request(method, path, body, headers)  # type: ignore[arg-type]
        answer = connection.getresponse()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {answer.read()!r}")
        return answer

    def peak_mb(self) -> float:
        """Most memory that it has held since `forget_peak`, MB of 2^20 bytes (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def forget_peak(self) -> None:
        """Count the peak from here on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def main() -> int:
    """Print one table; 1: the server needed more memory than it may."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    size = int(parser.parse_args().gigabytes * 1e9)
    if shutil.disk_usage(tempfile.gettempdir()).free < 3.2 * size:
        parser.error(f"{tempfile.gettempdir()} has not three times {size / 1e9:.1f} GB free")
    print(machine())
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="bench-upload-") as name:
        folder = Path(name)
        export = _write(folder / "264.zip", size)
        print(f"an export of {export.stat().st_size / 1e9:.2f} GB in {folder}\n")
        print(f"{'by':<28} {'s':>8} {'MB/s':>8} {'more MB':>8}")
        for label, send in (("pieces, cut in the middle", _in_pieces), ("POST /api/jobs", _whole)):
            with _running(folder / "data") as server:
                server.ask("GET", "/api/jobs", {})
                server.forget_peak()
                before = server.peak_mb()
                began = time.perf_counter()
                send(server, export)
                seconds = time.perf_counter() - began
                more = server.peak_mb() - before
            worst = max(worst, more)
            rate = export.stat().st_size / 1e6 / seconds
            print(f"{label:<28} {seconds:>8.1f} {rate:>8.0f} {more:>8.1f}", flush=True)
            shutil.rmtree(folder / "data")
    print(f"\ntarget: less than {TARGET_MB} MB more than the idle server")
    return int(worst >= TARGET_MB)


def _write(path: Path, size: int) -> Path:
    """An export whose images no zip makes smaller; the same image for every frame."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    png = file.getvalue()
    mask = encode(np.ones((64, 64), dtype=np.bool_), left=8, top=8)
    assert mask is not None
    frames = max(1, round(size / len(png)))
    write_export(
        path,
        frames=((number, png) for number in range(frames)),
        width=SIDE,
        height=SIDE,
        labels=[Label("car", "#3d9be0", "mask")],
        masks=[MaskShape(frame=0, label="car", mask=mask)],
        stop_frame=frames - 1,
    )
    return path


def _in_pieces(server: Server, export: Path) -> None:
    tus = {"Tus-Resumable": "1.0.0"}
    size = export.stat().st_size
    name = "filename " + base64.b64encode(export.name.encode()).decode()
    made = server.ask(
        "POST", "/api/uploads", tus | {"Upload-Length": str(size), "Upload-Metadata": name}
    )
    place = made.headers["Location"]
    offset, job, cut = 0, None, False
    with export.open("rb") as file:
        while job is None:
            piece = min(PIECE, size - offset)
            head = tus | {
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(offset),
            }
            file.seek(offset)
            if not cut and offset >= size // 2:
                _break_off(server.port, place, head, piece, file.read(piece // 2))
                cut = True
                answer = server.ask("HEAD", place, tus)
            else:
                answer = server.ask("PATCH", place, head, file.read(piece))
            offset = int(answer.headers["Upload-Offset"])
            job = answer.headers["Upload-Job"]


def _break_off(port: int, place: str, head: dict[str, str], length: int, data: bytes) -> None:
    """Send a piece of which only `data` comes, and wait until the server has given it up."""
    lines = [f"PATCH {place} HTTP/1.1", "Host: localhost", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in head.items()]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
        connection.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            connection.recv(4096)


def _whole(server: Server, export: Path) -> None:
    with export.open("rb") as file:
        server.ask(
            "POST", f"/api/jobs?name={export.name}",
            {"Content-Length": str(export.stat().st_size)}, file,
        )  # fmt: skip


@contextmanager
def _running(data_dir: Path) -> Iterator[Server]:
    env = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")},
        "DATA_DIR": str(data_dir),
        "PORT": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "BROKER_URL": "redis://127.0.0.1:9/0",  # nobody answers there, and nobody has to
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env=env, cwd=data_dir.parent, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"Mask Relay: http://\S+:(\d+)", line):
                yield Server(process, int(found[1]))
                break
        else:
            raise SystemExit("The server did not start.")
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    raise SystemExit(main())
