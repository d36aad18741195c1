"""Small exports made by hand: the parts of annotations.xml, and zips with whatever in them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

FIXTURES = Path(__file__).parents[2].parent / "shared" / "cvat" / "fixtures"

needs_fixtures = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason="../shared/cvat/fixtures is not there"
)

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
LABELS = "<labels><label><name>car</name><color>#b83df5</color></label></labels>"
SIZE = "<original_size><width>20</width><height>10</height></original_size>"


def job(
    start: int = 0,
    stop: int = 9,
    frame_filter: str = "",
    mode: str = "interpolation",
    labels: str = LABELS,
    size: str = SIZE,
    extra: str = "",
) -> str:
    """A job's <meta>."""
    return (
        f"<meta><job><id>7</id><size>10</size><mode>{mode}</mode><start_frame>{start}"
        f"</start_frame><stop_frame>{stop}</stop_frame><frame_filter>{frame_filter}"
        f"</frame_filter>{labels}{extra}</job><dumped>2026</dumped>{size}</meta>"
    )


def mask(frame: object = 0, **values: object) -> str:
    """A <mask>; 4 x 2 pixels with the run lengths 1, 2, 5 unless said otherwise; None: left out."""
    attributes = {
        "frame": frame, "keyframe": 1, "outside": 0, "occluded": 0, "rle": "1, 2, 5",
        "left": 3, "top": 4, "width": 4, "height": 2, "z_order": 0,
    } | values  # fmt: skip
    text = "".join(f' {k}="{v}"' for k, v in attributes.items() if v is not None)
    return f"<mask{text}></mask>"


def track(shapes: str, number: object = 0, label: str | None = "car") -> str:
    """A <track> around shapes."""
    named = f' label="{label}"' if label is not None else ""
    return f'<track id="{number}"{named} source="manual">{shapes}</track>'


def document(*parts: str, head: str = HEAD) -> bytes:
    """annotations.xml of a meta and tracks."""
    body = "".join(parts)
    return f"{head}<annotations><version>1.1</version>{body}</annotations>".encode()


def png(width: int = 20, height: int = 10) -> bytes:
    """A grey PNG."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (90, 90, 90)).save(out, "PNG")
    return out.getvalue()


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """A zip of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def images(*frames: int) -> dict[str, bytes]:
    """Members as CVAT names the frames of a video."""
    return {f"images/frame_{frame:06d}.PNG": png() for frame in frames}
