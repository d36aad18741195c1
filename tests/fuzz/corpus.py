"""The exports that fuzzing starts from: made by our own writers, then changed with fixed seeds.

`python -m tests.fuzz.corpus` writes them to the folder beside this file.
"""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from config import Limits
from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import ExportKind, Label, LabelAttribute, MaskShape
from cvat_io.reader import open_export
from cvat_io.result import write_result
from tests.fuzz.mutate import XML, _apart, _together, mutate

FOLDER = Path(__file__).parent / "corpus"
WIDTH, HEIGHT = 20, 10
CHANGED = 4  # files that are made of each sound one
LABELS = (
    Label("car", "#b83df5", "any", (LabelAttribute("q", True, "text", "", ("a", "b")),)),
    Label("person", "#112233", "mask"),
)
OTHERS = b"""  <track id="90" label="car" source="manual">
    <box frame="0" keyframe="1" outside="0" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2" z_order="0">
      <attribute name="q">a</attribute>
    </box>
    <box frame="3" keyframe="0" outside="1" occluded="0" xtl="1" ytl="1" xbr="2" ybr="2" z_order="0">
    </box>
  </track>
  <track id="91" label="car" source="manual">
    <skeleton frame="0" keyframe="1" z_order="0">
      <points label="1" outside="0" occluded="0" keyframe="1" points="1.0,2.0"></points>
    </skeleton>
  </track>
"""  # noqa: E501


def seeds() -> Iterator[tuple[str, bytes]]:
    """Yield sound exports of every kind that is told apart, by name."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.zip"
        job = _export(path)
        yield "job.zip", job
        yield "task.zip", _export(path, kind=ExportKind.TASK, start_frame=5, step=3)
        yield "bare.zip", _export(path, with_images=False)
        yield "jpeg.zip", _export(path, picture="JPEG")
        yield "webp.zip", _export(path, picture="WEBP")
        members = _apart(job)
        text = {info.filename: content for info, content in members}[XML]
        yield "job.xml", text
        with_others = text.replace(b"</annotations>", OTHERS + b"</annotations>")
        yield "others.zip", _with(job, with_others)
        yield "list.zip", _with(job, text.replace(b"interpolation", b"annotation"))
        path.write_bytes(_with(job, with_others))
        with open_export(path, Limits()) as export:
            shapes = [each for each in export.tracks() if isinstance(each, MaskShape)]
            write_result(Path(name) / "r.zip", export, shapes, {"key_frames": "0,2"})
        yield "result.zip", (Path(name) / "r.zip").read_bytes()


def write() -> None:
    """Write all of it to FOLDER."""
    FOLDER.mkdir(exist_ok=True)
    for name, data in seeds():
        (FOLDER / name).write_bytes(data)
        stem, _, ending = name.partition(".")
        for number in range(CHANGED):
            changed = mutate(data, random.Random(f"{name} {number}"))
            (FOLDER / f"{stem}-{number}.{ending}").write_bytes(changed)


def _with(archive: bytes, text: bytes) -> bytes:
    members = [(i, text if i.filename == XML else content) for i, content in _apart(archive)]
    return _together(members, random.Random(1))


def _export(
    path: Path,
    *,
    kind: ExportKind = ExportKind.JOB,
    start_frame: int = 0,
    step: int = 1,
    with_images: bool = True,
    picture: str = "PNG",
) -> bytes:
    frames = range(start_frame, start_frame + 4 * step, step)
    pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
    pixels[3:5, 4:9] = True
    mask = encode(pixels)
    assert mask is not None
    write_export(
        path,
        frames=[(frame, _picture(frame, picture)) for frame in frames],
        width=WIDTH,
        height=HEIGHT,
        labels=LABELS,
        masks=[
            MaskShape(frames[0], "car", mask, attributes=(("q", "a"),)),
            MaskShape(frames[0], "person", mask, z_order=1, group_id=2),
            MaskShape(frames[2], "car", mask, occluded=True),
        ],
        kind=kind,
        start_frame=start_frame,
        stop_frame=frames[-1],
        step=step,
        with_images=with_images,
    )
    return path.read_bytes()


def _picture(frame: int, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (frame % 200, 90, 90)).save(file, kind)
    return file.getvalue()


if __name__ == "__main__":
    write()
