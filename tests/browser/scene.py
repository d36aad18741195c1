"""A lifelike set of jobs in all five boxes, for looking at the pages.

The jobs are real; where a worker would have to compute for minutes, its rows are written directly.
"""

from __future__ import annotations

import io
import shutil
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sqlalchemy import select, update

from cvat_io.build import write_export
from cvat_io.masks import encode
from cvat_io.model import Label, Mask, MaskShape
from jobs.models import ASSEMBLE, LEARN, Job, Run, Span, Worker
from jobs.options import KeyFrames, RunOptions
from jobs.service import Jobs
from jobs.store import STATE
from jobs.views import RunState, SpanState

CAR = Label("car", "#3d9be0", "mask")
ROAD = Label("drivable area", "#ff6a3d", "mask")
PERSON = Label("person", "#35b779", "mask")
BIKE = Label("bicycle", "#c95fd1", "mask")
_QUIET = {"synchronize_session": False}
MINUTE = 60.0
_NEXT = {
    name: {
        "frame": frame,
        "object": 1,
        "label": label,
        "score": 0.71,
        "why": "split",
        "reason": "the mask is in pieces",
        "repairs": repairs,
        "iou_gain": 0.04,
    }
    for name, frame, label, repairs in (("251", 23, "car", 6.2), ("breakdance", 61, "person", 0.4))
}


def fill(jobs: Jobs, folder: Path) -> None:
    """Put about ten jobs into an empty installation."""
    _job(jobs, folder, "264", (CAR, ROAD), range(0, 120, 30), 119)
    _job(jobs, folder, "lap-3-onboard", (CAR,), (0, 75, 150), 239)
    _job(jobs, folder, "crossing_north_cam2", (PERSON, BIKE, CAR), (0,), 89)

    for name, parallel in (("271", 2), ("warehouse-aisle-7", 0)):
        _job(jobs, folder, name, (PERSON,), range(0, 180, 20), 179)
        jobs.start_run(name, RunOptions(engine="flow", parallel_spans=parallel))

    _job(jobs, folder, "259", (CAR, ROAD), (0, 60, 90, 150), 179)
    jobs.start_run("259", RunOptions(engine="flow"))
    _run_on(jobs, "259", (1.0, 1.0, 0.64, 0.31), ("anna", "bert"), minutes=4)
    _job(jobs, folder, "drift-chicane", (CAR,), (0, 100), 199)
    jobs.start_run("drift-chicane", RunOptions(engine="flow", keyframes=KeyFrames.PARTIAL))
    _run_on(jobs, "drift-chicane", (0.22,), ("carl",), minutes=1)

    for name, labels, minutes in (
        ("251", (CAR, ROAD), 9),
        ("breakdance", (PERSON,), 34),
        ("243", (CAR,), 190),
    ):
        _job(jobs, folder, name, labels, (0, 40), 79)
        jobs.start_run(name, RunOptions(engine="flow"))
        _run_on(jobs, name, (1.0,) * 2, ("anna",), minutes=minutes)
        _complete(jobs, name, minutes)

    _job(jobs, folder, "harbour-crane", (BIKE,), (), 59)
    _job(jobs, folder, "247", (CAR,), (0, 50), 99)
    jobs.start_run("247", RunOptions(engine="flow"))
    _fail(jobs, "247")
    with jobs.database.write() as session:
        session.execute(update(Job).values(state=STATE).execution_options(**_QUIET))
        for name, device, doing in (
            ("anna", "cuda:0", "job 259, frames 91 to 149"),
            ("bert", "cuda:1", "job 259, frames 151 to 179"),
            ("carl", "cpu", "job drift-chicane, frames 1 to 199"),
            ("dora", "cpu", ""),
        ):
            gpu = (31_400_000_000, 85_000_000_000) if device != "cpu" else (None, None)
            seen = time.time() + 3600  # online for as long as anybody looks
            session.add(
                Worker(
                    name=name, host="tracker-1", device=device, last_seen=seen, doing=doing,
                    gpu_bytes=gpu[0], gpu_bytes_total=gpu[1], memory_bytes=3_180_000_000,
                    engines=["builtin", "flow", *(["deaot-r50-l"] if gpu[0] else [])],
                )
            )  # fmt: skip


def export(path: Path, labels: tuple[Label, ...], keys: tuple[int, ...] | range, last: int) -> Path:
    """Write an export with a mask of every label on every key frame."""
    picture, shapes = _scenery(len(labels), seed=zlib.crc32(path.stem.encode()))
    write_export(
        path,
        frames=((number, picture) for number in range(last + 1)),
        width=1920,
        height=1080,
        labels=labels,
        masks=[
            MaskShape(frame=key, label=label.name, mask=mask)
            for key in keys
            for label, mask in zip(labels, shapes, strict=True)
        ],
        stop_frame=last,
    )
    return path


def _scenery(objects: int, seed: int) -> tuple[bytes, list[Mask]]:
    """A picture of sky, hills and ground with an object in it for each label, and their masks."""
    random = np.random.default_rng(seed)
    dusk = Image.new("RGB", (1920, 1080), str(random.choice(["#b9cbd9", "#d8c7b0", "#9fb4b8"])))
    draw = ImageDraw.Draw(dusk)
    for number, shade in enumerate(("#8da0a3", "#6f8583", "#5b6d66")):
        heights = 430 + 90 * number + 60 * np.sin(np.arange(0, 9) + random.uniform(0, 6, 9))
        line = [(240 * x, int(y)) for x, y in enumerate(heights)]
        draw.polygon([*line, (1920, 1080), (0, 1080)], fill=shade)
    draw.polygon([(760, 640), (1120, 640), (1900, 1080), (60, 1080)], fill="#4a4d4e")
    masks = []
    for number in range(objects):
        shape = Image.new("L", (1920, 1080))
        width, height = random.integers(220, 420), random.integers(180, 360)
        left, top = 240 + 560 * number + random.integers(-80, 80), random.integers(480, 640)
        box = (left, top, left + width, top + height)
        ImageDraw.Draw(shape).rounded_rectangle(box, radius=90, fill=255)
        draw.rounded_rectangle(box, radius=90, fill=str(random.choice(["#c8b8a0", "#e3e0d8"])))
        mask = encode(np.asarray(shape) > 0)
        assert mask is not None
        masks.append(mask)
    file = io.BytesIO()
    dusk.save(file, "PNG")
    return file.getvalue(), masks


def _job(
    jobs: Jobs,
    folder: Path,
    name: str,
    labels: tuple[Label, ...],
    keys: tuple[int, ...] | range,
    last: int,
) -> None:
    path = export(folder / f"{name}.zip", labels, keys, last)
    with path.open("rb") as stream:
        jobs.receive(path.name, stream)
    path.unlink()


def _run_on(
    jobs: Jobs, name: str, shares: tuple[float, ...], workers: tuple[str, ...], minutes: float
) -> None:
    """Let the run's spans be done to the given shares."""
    now = time.time()
    with jobs.database.write() as session:
        job = session.get_one(Job, name)
        run = session.scalars(select(Run).where(Run.job_id == name)).one()
        spans = session.scalars(
            select(Span)
            .where(Span.run_id == run.id, Span.direction.not_in((LEARN, ASSEMBLE)))
            .order_by(Span.ordinal)
        ).all()
        session.execute(
            update(Span)
            .where(Span.run_id == run.id, Span.direction == LEARN)
            .values(state=SpanState.DONE.value, worker=workers[0], attempts=1, seconds=9.0)
        )
        run.state, run.started = RunState.RUNNING.value, now - minutes * MINUTE
        job.updated = now
        for number, span in enumerate(spans):
            share = shares[number] if number < len(shares) else 0.0
            span.frames_done = round(share * span.frames_total)
            span.worker = workers[number % len(workers)] if share else ""
            span.attempts = 1 if share else 0
            if share >= 1:
                span.state, span.seconds = SpanState.DONE.value, 41.0 + number
            elif share > 0:
                span.state, span.lease_until = SpanState.LEASED.value, now + 3600


def _complete(jobs: Jobs, name: str, minutes: float) -> None:
    now = time.time()
    with jobs.database.write() as session:
        job = session.get_one(Job, name)
        run = session.scalars(select(Run).where(Run.job_id == name)).one()
        run.state, run.finished = RunState.DONE.value, now - minutes * MINUTE
        run.started = run.finished - 73
        run.result_bytes, run.result_sha256 = 184_213, "0" * 64
        run.flagged_frames = {"251": 7, "breakdance": 0}.get(name)
        run.next_frame = _NEXT.get(name)
        job.updated = run.finished
        path = jobs.files.result(name, run.revision, run.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(__file__, path)  # any file: it is not read here


def _fail(jobs: Jobs, name: str) -> None:
    now = time.time()
    reason = (
        "Frame 57 cannot be read: images/frame_000057.PNG is damaged. "
        "Export the job from CVAT again."
    )
    with jobs.database.write() as session:
        job = session.get_one(Job, name)
        run = session.scalars(select(Run).where(Run.job_id == name)).one()
        run.state, run.started, run.finished = RunState.FAILED.value, now - 600, now - 580
        run.error = reason
        job.updated = now - 580
