"""A job with a result, small and lifelike: two objects with odd names, a deleted frame, PNG images.

The result is computed by a real worker's loop with the engine `flow`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from flask.testing import FlaskClient
from PIL import Image

from config import Settings
from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import Label, MaskShape
from jobs.db import Database
from tests.web.kit import upload
from worker.heartbeat import Identity
from worker.loop import SpanLoop

WIDTH, HEIGHT = 64, 48
FIRST, LAST, STEP = 30, 57, 3  # ten frames
FRAMES = range(FIRST, LAST + 1, STEP)
GONE = 48  # deleted in CVAT: it has no image
KEYS = (30, 51)
HOSTILE = '</script><img src=x onerror="alert(1)">\u202e"\\'
LABELS = (Label(HOSTILE, "#ff8000", "mask"), Label("car", "", "mask"))


def picture(frame: int) -> bytes:
    """The image file of a frame: textured, and different from frame to frame."""
    coarse = np.random.default_rng(5).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT)))
    file = io.BytesIO()
    Image.fromarray(np.roll(smooth, frame // 3, 1)).save(file, "PNG")
    return file.getvalue()


def shape(frame: int, label: str, left: int, top: int, *, z: int = 0) -> MaskShape:
    """A disc of 14 pixels."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    mask = encode((rows - top - 7) ** 2 + (columns - left - 7) ** 2 <= 49)
    assert mask is not None
    return MaskShape(frame=frame, label=label, mask=mask, z_order=z)


def export(path: Path, *, shift: int = 0, images: bool = True, reverse: bool = False) -> bytes:
    """An export with two masks on each key frame; `reverse`: the last frame's come first."""
    masks = [
        each
        for key in KEYS
        for each in (
            shape(key, HOSTILE, 4 + key // 3 - 10 + shift, 4),
            shape(key, "car", 30, 24, z=-1),
        )
    ]
    write_export(
        path,
        frames=[(frame, picture(frame)) for frame in FRAMES if frame != GONE],
        width=WIDTH,
        height=HEIGHT,
        labels=LABELS,
        masks=masks[::-1] if reverse else masks,
        start_frame=FIRST,
        stop_frame=LAST,
        step=STEP,
        with_images=images,
    )
    data = path.read_bytes()
    path.unlink()
    return data


def run(
    client: FlaskClient, settings: Settings, database: Database, job_id: str, **options: object
) -> int:
    """Start a run and do all of it; returns its number."""
    answer = client.post(f"/api/jobs/{job_id}/runs", json={"engine": "flow", **options})
    assert answer.status_code == 201, answer.text
    loop = SpanLoop(settings, database, Identity(name="w", host="here", device="cpu"))
    while loop.step():
        pass
    job = client.get(f"/api/jobs/{job_id}").get_json()["job"]
    assert job["state"] == "completed", job
    return job["results"][0]


def done(client: FlaskClient, settings: Settings, database: Database, folder: Path) -> None:
    """Make job 264 with a result of run 1."""
    upload(client, export(folder / "264.zip"), "264.zip")
    assert run(client, settings, database, "264") == 1
