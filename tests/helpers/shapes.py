"""Rectangles and polygons in exports for tests, written as CVAT writes them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

Points = Sequence[tuple[float, float]]


def add_tracks(path: Path, *tracks: str) -> Path:
    """Put tracks at the end of an export's annotations; all else stays as it is."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    end = b"</annotations>"
    members["annotations.xml"] = members["annotations.xml"].replace(
        end, "".join(tracks).encode() + end
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def polygon(
    points: Points,
    frame: int,
    *,
    keyframe: int = 1,
    outside: int = 0,
    occluded: int = 0,
    z_order: int = 0,
    inner: str = "",
) -> str:
    """One <polygon>."""
    text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return (
        f'    <polygon frame="{frame}" keyframe="{keyframe}" outside="{outside}" '
        f'occluded="{occluded}" points="{text}" z_order="{z_order}">\n{inner}    </polygon>\n'
    )


def box(
    corners: tuple[float, float, float, float],
    frame: int,
    *,
    keyframe: int = 1,
    outside: int = 0,
    rotation: float = 0.0,
) -> str:
    """One <box> from left, top, right and bottom."""
    left, top, right, bottom = corners
    turned = f' rotation="{rotation:.2f}"' if rotation else ""
    return (
        f'    <box frame="{frame}" keyframe="{keyframe}" outside="{outside}" occluded="0" '
        f'xtl="{left:.2f}" ytl="{top:.2f}" xbr="{right:.2f}" ybr="{bottom:.2f}"{turned} '
        'z_order="0">\n    </box>\n'
    )


def track(number: int, label: str, *shapes: str, more: str = "") -> str:
    """One <track> of shapes; `more`: further attributes, such as `group_id="4"`."""
    space = " " if more else ""
    return (
        f'  <track id="{number}" label="{label}" source="manual"{space}{more}>\n'
        f"{''.join(shapes)}  </track>\n"
    )


def square(left: float, top: float, side: float) -> Points:
    """The corners of a square."""
    right, bottom = left + side, top + side
    return ((left, top), (right, top), (right, bottom), (left, bottom))
