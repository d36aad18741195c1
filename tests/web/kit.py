"""What the tests of the web rooms share beside their fixtures: a key, and small exports."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flask.testing import FlaskClient
from PIL import Image

from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import Label, MaskShape

KEY_TEXT = "a secret of good length"
WIDTH, HEIGHT, FRAMES = 32, 24, 6

MakeExport = Callable[..., bytes]


def export_bytes(
    path: Path, keys: tuple[int, ...], *, shift: int, images: bool, unused: tuple[str, ...] = ()
) -> bytes:
    """Six frames with a mask on each of the key frames; `path` is only used on the way.

    `unused`: names of labels beside "car" with which nothing is drawn.
    """
    write_export(
        path,
        frames=[(number, _png(number)) for number in range(FRAMES)],
        width=WIDTH,
        height=HEIGHT,
        labels=[Label("car", "#3d9be0", "mask"), *(Label(u, "#111111", "mask") for u in unused)],
        masks=[_mask(key, shift) for key in keys],
        stop_frame=FRAMES - 1,
        with_images=images,
    )
    data = path.read_bytes()
    path.unlink()
    return data


def upload(client: FlaskClient, data: bytes, name: str = "264.zip") -> dict:
    """Send an export under a name and return its job."""
    answer = client.post("/api/jobs", query_string={"name": name}, data=data)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def _png(number: int) -> bytes:
    pixels = np.full((HEIGHT, WIDTH, 3), 20 * number, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _mask(frame: int, shift: int) -> MaskShape:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[4:12, 4 + shift : 14 + shift] = True
    mask = encode(pixels)
    assert mask is not None
    return MaskShape(frame=frame, label="car", mask=mask)
