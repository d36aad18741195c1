"""How long a person waits in the frame-by-frame panel: `python -m bench.panel`.

A real server, a real worker and a broker, all processes of their own, asked over HTTP as a browser
does: a session is opened and a first step made, then single steps with a pause between them as a
person makes, a run of frames, clicks, strokes. What a step takes beside the engine's own time is
its overhead. `--services`: with a PostgreSQL and a RabbitMQ of our own in place of SQLite and the
embedded broker. `--size`: of made-up frames, such as 1920x1080; else a clip of ../shared/clips.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.clips import find_clip, write_footage
from bench.cost import Drift
from bench.house import House
from bench.machine import machine
from bench.processes import descendants, wait_for
from bench.services import Postgres, RabbitMQ
from config import Limits
from cvat_io.build import write_export
from cvat_io.masks import encode_labels
from cvat_io.model import Label, MaskShape
from cvat_io.reader import open_export
from tracker import engines
from tracker.frames import ZipFrames
from worker.seeds import paint_alone, read_seeds

FIRST_SECONDS = 1.0  # from opening to the first step, on a warm worker
OVERHEAD_MS = 60.0  # of a step beside the engine's own time, 95 of 100
_PAUSE = 0.15  # seconds between two steps
_JOB = "264"


@dataclass(slots=True)
class Client:
    """A browser, as far as the server sees it: one connection that is kept."""

    port: int
    _connection: http.client.HTTPConnection | None = field(default=None)

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The JSON that a request is answered with. Raises SystemExit for a refusal."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        raw = None if body is None else json.dumps(body)
        self._connection.request(method, path, raw, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {data!r}")
        found: dict[str, Any] = json.loads(data)
        return found

    def session(self, path: str, body: object = None) -> dict[str, Any]:
        """A request to the session of the job."""
        method = "GET" if body is None else "POST"
        return self.ask(method, f"/api/jobs/{_JOB}/session{path}", body)


@dataclass(slots=True)
class Figures:
    """Seconds of what a person waited for."""

    first: float = 0.0
    overheads: list[float] = field(default_factory=list)
    models: list[float] = field(default_factory=list)
    played: float = 0.0  # frames a second
    server: float = 0.0  # processor seconds of the server for a single step
    worker: float = 0.0  # the same of the worker, with the engine's
    engine: float = 0.0  # the same of the engine alone, in this process
    clicks: list[float] = field(default_factory=list)
    edits: list[float] = field(default_factory=list)


def main() -> int:
    """Print one table; 1: a target was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--services", action="store_true", help="PostgreSQL and RabbitMQ")
    parser.add_argument("--clip", default="blackswan", help="of ../shared/clips")
    parser.add_argument("--size", default="", help="WIDTHxHEIGHT of made-up frames instead")
    parser.add_argument("--steps", type=int, default=60, help="single steps (default: 60)")
    parser.add_argument("--engine", default="flow", help="of the session (default: flow)")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-panel-")))
        database_url = broker_url = ""
        if options.services:
            postgres = stack.enter_context(contextlib.closing(Postgres()))
            rabbitmq = stack.enter_context(contextlib.closing(RabbitMQ()))
            postgres.start()
            rabbitmq.start()
            database_url, broker_url = postgres.url, rabbitmq.url
        house = stack.enter_context(
            House(folder / "house", database_url=database_url, broker_url=broker_url, engine="flow")
        )
        export = folder / f"{_JOB}.zip"
        size = _write(export, options.clip, options.size, options.steps + 42)
        house.jobs.start_broker()
        (worker,) = house.workers("one")
        server, port = house.server()
        house.receive(export)
        _warm(house, port, export)
        processes = [[one.pid, *descendants(one.pid)] for one in (server, worker)]
        found = _measure(Client(port), options.steps, options.engine, processes)
        found.engine = _alone(export, options.engine, options.steps)
    _print(found, options, size)
    overhead = _percentile(found.overheads, 95)
    return int(found.first > FIRST_SECONDS or overhead > OVERHEAD_MS / 1000)


def _measure(client: Client, steps: int, engine: str, processes: Sequence[list[int]]) -> Figures:
    """`processes`: those of the server, and those of the worker."""
    found = Figures()
    if engine != "flow":
        client.session("/engine", {"engine": engine})
        _prepare(client, 0)
    began = time.perf_counter()
    client.session("")
    client.session("/step", {"from": 0, "to": 1, "wait": True})
    found.first = time.perf_counter() - began
    before = [_processor(pids) for pids in processes]
    for frame in range(1, steps + 1):
        time.sleep(_PAUSE)
        began = time.perf_counter()
        answer = client.session("/step", {"from": frame, "to": frame + 1, "wait": True})
        took = time.perf_counter() - began
        found.models.append(answer["seconds"]["model"])
        found.overheads.append(took - answer["seconds"]["model"])
    after = [_processor(pids) for pids in processes]
    found.server, found.worker = ((b - a) / steps for a, b in zip(before, after, strict=True))
    first, last = steps + 1, steps + 41
    began = time.perf_counter()
    asked = client.session("/step", {"from": first, "to": last})["id"]
    while client.session(f"/steps/{asked}")["state"] in ("queued", "leased"):
        time.sleep(0.01)
    found.played = (last - first) / (time.perf_counter() - began)
    mask = client.session("/frames/1")["masks"][0]
    left, top, width, height = mask["box"]
    point = [left + width / 2, top + height / 2, 1]
    _prepare(client, 1)
    for shift in range(10):
        asked = {"frame": 1, "object": 1, "points": [[point[0] + shift, *point[1:]]], "box": None}
        began = time.perf_counter()
        client.session("/segment", asked)
        found.clicks.append(time.perf_counter() - began)
    for frame in range(1, 11):
        drawn = {"object": mask["object"], "box": mask["box"], "runs": mask["runs"]}
        began = time.perf_counter()
        client.session("/edit", {"frame": frame, "masks": [drawn]})
        found.edits.append(time.perf_counter() - began)
    return found


def _prepare(client: Client, frame: int) -> None:
    asked = client.session("/prepare", {"frame": frame})["id"]
    while client.session(f"/steps/{asked}")["state"] in ("queued", "leased"):
        time.sleep(0.05)


def _warm(house: House, port: int, export: Path) -> None:
    """Let the worker have stepped once, in another job: the engine is loaded then."""
    other = export.with_name("1.zip")
    other.write_bytes(export.read_bytes())
    house.receive(other)
    client = Client(port)
    client.ask("GET", "/api/jobs/1/session")
    client.ask("POST", "/api/jobs/1/session/step", {"from": 0, "to": 2, "wait": True})
    asked = client.ask("POST", "/api/jobs/1/session/prepare", {"frame": 2})["id"]

    def ready() -> bool:
        state = client.ask("GET", f"/api/jobs/1/session/steps/{asked}")["state"]
        return state not in ("queued", "leased")

    wait_for(ready, "the worker", 120)


def _write(path: Path, name: str, size: str, frames: int) -> tuple[int, int]:
    """An export with masks on its first frame; returns width and height."""
    if not size:
        clip = find_clip(name)
        long = (clip.images * (frames // len(clip.images) + 1))[:frames]
        masks = (clip.masks * (frames // len(clip.images) + 1))[:frames]
        return write_footage(path, type(clip)(name, long, masks), (0,), job_id=_JOB)
    width, height = (int(side) for side in size.split("x"))
    scene = Drift(width, height, 5)
    shapes = [
        MaskShape(frame=0, label="object", mask=mask)
        for mask in encode_labels(scene.frame(0)[1]).values()
    ]
    write_export(
        path,
        frames=((at, _png(scene.frame(min(at % 120, 120 - at % 120))[0])) for at in range(frames)),
        width=width,
        height=height,
        labels=[Label("object", "#ff0000", "any")],
        masks=shapes,
        stop_frame=frames - 1,
        job_id=_JOB,
    )
    return width, height


def _png(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _alone(path: Path, engine: str, steps: int) -> float:
    """Processor seconds of one step of the engine, on the same frames."""
    if engine != "flow":
        return 0.0
    shapes = read_seeds(path, Limits(), [0], frozenset(), {})[0]
    with open_export(path, Limits()) as export:
        members = list(export.images.values())[: steps + 1]
    with ZipFrames(path, members) as frames:
        labels = paint_alone(0, shapes, frames.height, frames.width)
        propagator = engines.make(engine)
        propagator.start(frames.read(0), labels)
        took = 0.0
        for index in range(1, steps + 1):
            image = frames.read(index)
            began = time.process_time()
            propagator.step(image)
            took += time.process_time() - began
    return took / steps


def _processor(pids: Sequence[int]) -> float:
    """Processor seconds of some processes so far (Linux)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _percentile(values: Sequence[float], share: int) -> float:
    return float(np.percentile(np.array(values), share))


def _print(found: Figures, options: argparse.Namespace, size: tuple[int, int]) -> None:
    services = "PostgreSQL and RabbitMQ" if options.services else "SQLite and the embedded broker"
    print(f"{machine()}; {services}; {size[0]}x{size[1]}, engine {options.engine}", file=sys.stdout)
    rows = [
        ("opening and the first step, warm worker", found.first * 1000, 0.0),
        (
            "a step, beside the engine's own time",
            statistics.median(found.overheads) * 1000,
            _percentile(found.overheads, 95) * 1000,
        ),
        (
            "the engine's own time of a step",
            statistics.median(found.models) * 1000,
            _percentile(found.models, 95) * 1000,
        ),
        ("a click", statistics.median(found.clicks) * 1000, max(found.clicks) * 1000),
        ("an edit", statistics.median(found.edits) * 1000, max(found.edits) * 1000),
    ]
    print(f"{'what':<42}{'median ms':>12}{'95 of 100 ms':>14}")
    for name, middle, most in rows:
        print(f"{name:<42}{middle:>12.0f}{(f'{most:.0f}' if most else ''):>14}")
    print(f"frames a second without a pause: {found.played:.1f}")
    server, worker, engine = (1000 * s for s in (found.server, found.worker, found.engine))
    print(
        f"processor ms of a step: server {server:.0f}, worker {worker:.0f}, of which the engine "
        f"takes {engine:.0f} (measured alone)"
    )


if __name__ == "__main__":
    raise SystemExit(main())
