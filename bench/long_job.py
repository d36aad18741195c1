"""A long job with a result, as a worker would have left it: for measures of pages and of the API.

Computing 2,000 full-HD frames with 20 objects would take hours, so the result is made up: blobs
with ragged outlines of about 700 runs, the same from frame to frame up to a shift.
"""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from sqlalchemy import select, update

from bench.codec import blobs
from config import Limits
from cvat_io.build import write_export
from cvat_io.lineage import Lineage
from cvat_io.model import Label, MaskShape
from cvat_io.reader import open_export
from cvat_io.result import write_result
from jobs.files import hash_file
from jobs.models import Job, Run, Span
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.store import STATE
from jobs.views import RunState, SpanState

WIDTH, HEIGHT = 1920, 1080
KEYS_EVERY = 500
_PICTURES = 20  # that differ; they come again and again
_KINDS = 200  # different masks of each object
_QUIET = {"synchronize_session": False}


def make_long_job(jobs: Jobs, folder: Path, job_id: str, *, frames: int, objects: int) -> None:
    """Make job `job_id` with pictures and a published result; `folder` is used on the way."""
    labels = (Label("car", "#3d9be0", "mask"), Label("person", "#35b779", "mask"))
    kinds = min(_KINDS, frames)
    masks = list(itertools.islice(blobs(kinds * objects), kinds * objects))
    keys = range(0, frames, KEYS_EVERY)

    def shape(frame: int, k: int, source: str) -> MaskShape:
        mask = masks[(frame % kinds) * objects + k]
        return MaskShape(frame=frame, label=labels[k % 2].name, mask=mask, source=source)

    path = folder / f"{job_id}.zip"
    pictures = [_picture(number) for number in range(min(_PICTURES, frames))]
    write_export(
        path,
        frames=((frame, pictures[frame % len(pictures)]) for frame in range(frames)),
        width=WIDTH,
        height=HEIGHT,
        labels=labels,
        masks=[shape(key, k, "manual") for key in keys for k in range(objects)],
        stop_frame=frames - 1,
    )
    with path.open("rb") as stream:
        jobs.receive(path.name, stream)
    path.unlink()
    number = jobs.start_run(job_id, RunOptions(engine="flow")).number
    result = jobs.files.result(job_id, 1, number)
    result.parent.mkdir(parents=True, exist_ok=True)

    def all_masks() -> Iterator[tuple[MaskShape, int]]:
        for frame in range(frames):
            source = "manual" if frame in keys else "auto"
            for k in range(objects):
                yield shape(frame, k, source), k + 1

    with open_export(jobs.files.revision(job_id, 1) / "export.zip", Limits()) as export:
        lineage = Lineage.behind((), objects, export.meta.frames)
        note = {"key_frames": ",".join(map(str, keys)), **lineage.note()}
        write_result(result, export, lineage.numbered(all_masks()), note, keep_ids=True)
    _write_report(jobs.files.report(job_id, 1, number), frames, objects, keys)
    _publish(jobs, job_id, number, result)


def _write_report(path: Path, frames: int, objects: int, keys: range) -> None:
    rng = np.random.default_rng(1)
    with path.open("w") as file:
        file.write('{\n  "engine": "flow",\n  "next_frame": null,\n  "divergence": [\n')
        lines = (
            {"frame": frame, "object": k + 1, "score": round(float(rng.random() ** 4), 4),
             "label": ("car", "person")[k % 2], "why": "unsure"}
            for frame in range(frames)
            if frame not in keys
            for k in range(objects)
        )  # fmt: skip
        file.write(",\n".join("    " + json.dumps(line) for line in lines))
        file.write("\n  ]\n}\n")


def _publish(jobs: Jobs, job_id: str, number: int, result: Path) -> None:
    """Write the rows of a run that is done."""
    now = time.time()
    with jobs.database.write() as session:
        run = session.scalars(select(Run).where(Run.job_id == job_id, Run.number == number)).one()
        run.state, run.started, run.finished = RunState.DONE.value, now - 60, now
        run.open = False
        run.result_bytes, run.result_sha256 = result.stat().st_size, hash_file(result)
        session.execute(
            update(Span)
            .where(Span.run_id == run.id)
            .values(state=SpanState.DONE.value, worker="anna", attempts=1)
            .execution_options(**_QUIET)
        )
        session.flush()
        session.execute(
            update(Job).where(Job.id == job_id).values(state=STATE).execution_options(**_QUIET)
        )


def _picture(number: int) -> bytes:
    """A PNG of slopes with some noise, about as large as a frame of a screen recording."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    light = (rows + columns + 40 * number) // 8 % 256
    pixels = np.repeat(light[..., None], 3, axis=2).astype(np.uint8)
    pixels[300:700, 500:1300] += rng.integers(0, 9, (400, 800, 1), dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
