"""Uploads in pieces for tests: what a client sends, and exports that no zip makes smaller."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import Label, MaskShape
from jobs.files import JobFiles

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = TUS | {"Content-Type": "application/offset+octet-stream"}


def metadata(name: str) -> str:
    return "filename " + base64.b64encode(name.encode()).decode()


def create(client: FlaskClient, data: bytes, name: str = "264.zip") -> str:
    head = TUS | {"Upload-Length": str(len(data)), "Upload-Metadata": metadata(name)}
    answer = client.post("/api/uploads", headers=head)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def patch(client: FlaskClient, place: str, offset: int, data: bytes) -> TestResponse:
    return client.patch(place, data=data, headers=PIECE | {"Upload-Offset": str(offset)})


def offset(client: FlaskClient, place: str) -> int:
    return int(client.head(place, headers=TUS).headers["Upload-Offset"])


def export_of(data_dir: Path, job: str, revision: int) -> bytes:
    return (JobFiles(data_dir).revision(job, revision) / "export.zip").read_bytes()


def large_export(path: Path, frames: int = 6, side: int = 500, seed: int = 0) -> Path:
    """An export whose images no zip makes smaller: 3 bytes for every pixel of every frame."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    mask = encode(np.ones((8, 8), bool), left=seed, top=4)
    assert mask is not None
    write_export(
        path,
        frames=((number, file.getvalue()) for number in range(frames)),
        width=side,
        height=side,
        labels=[Label("car", "#3d9be0", "mask")],
        masks=[MaskShape(frame=0, label="car", mask=mask)],
        stop_frame=frames - 1,
    )
    return path
