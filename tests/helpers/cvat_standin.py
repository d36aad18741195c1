"""A CVAT server for tests: over real HTTP, with what cvat-sdk asks for to pull and push.

What it answers is built with the SDK's own models; what an import does is written down here from
the rules of the format (../shared/cvat, section 6), apart from our own writer.
"""

from __future__ import annotations

import base64
import io
import json
import re
import tempfile
import threading
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

from cvat_sdk.api_client import Configuration, models
from cvat_sdk.api_client.model_utils import validate_and_convert_types

from cvat_io.build import write_export
from cvat_io.masks import encode_labels
from cvat_io.model import ExportKind
from tests.helpers.clips import LABELS, Clip, png
from tests.helpers.cvat_models import (
    ATTRIBUTES,
    NAMES,
    exported,
    filled,
    imported,
    said,
    said_label,
    shape_of,
)
from tests.helpers.cvat_queue import Queue

TOKEN = "cvat-secret-0123456789"


@dataclass
class Job:
    """One job, or a task with a single one of its number."""

    clip: Clip
    number: int = 264
    first: int = 0  # of its frames in its task, which counts from 0 without the step
    step: int = 1
    state: str = "new"
    shapes: list[dict[str, Any]] = field(default_factory=list)
    tags: list[dict[str, Any]] = field(default_factory=list)
    tracks: list[dict[str, Any]] = field(default_factory=list)
    changes: int = 0
    deleted: set[int] = field(default_factory=set)  # frames, counted as in shapes

    @property
    def updated(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.changes)

    @property
    def unused(self) -> int:
        """A number that no shape has."""
        return max((shape["id"] for shape in self.shapes), default=0) + 1

    def draw(self, index: int) -> None:
        """A person draws all objects of one image, and saves."""
        for number, mask in encode_labels(self.clip.maps[index]).items():
            label = next(k for k, name in NAMES.items() if name == self.clip.kinds[number])
            self.shapes.append(shape_of(label, self.first + index, mask, self.unused))
        self.changes += 1


class StandIn:
    """The server. `broken` bytes of the next download are sent, then the line goes dead."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.version = "2.80.0"
        self.broken: int | None = None
        self.status = 0  # with which everything but the version is answered
        self.failure = ""  # what the server says of background work
        self.leads_to = ""
        self.on_export = lambda job: None
        self.on_read = lambda job: None  # its annotations, once the answer is made
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.ranges: list[str] = []
        self.imports: list[tuple[str, str]] = []  # mode, file name
        self.batches: list[int] = []  # how many shapes each request added or changed
        self.dies_at = 0  # the line goes dead at this batch,
        self.dies_after = False  # before it is stored or, unheard, after
        self.queue = Queue()
        self.functions: list[dict[str, Any]] = []
        self.exports: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        standin = self

        class Handler(_Handler):
            cvat = standin

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def export(self, job: Job, kind: str, with_images: bool) -> bytes:
        """An archive as CVAT makes it; its head says when."""
        shown = [shape for shape in job.shapes if shape["frame"] not in job.deleted]
        masks = [exported(shape, job.step) for shape in shown]
        height, width = job.clip.maps[0].shape
        last = job.first + len(job.clip.images) - 1
        images = {job.first + i: png(image) for i, image in enumerate(job.clip.images)}
        frames = [(i * job.step, data) for i, data in images.items() if i not in job.deleted]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "export.zip"
            write_export(
                path, frames=frames, width=width, height=height,
                labels=LABELS, masks=masks, job_id=str(job.number), kind=ExportKind(kind),
                start_frame=job.first * job.step, stop_frame=last * job.step, step=job.step,
                with_images=with_images,
            )  # fmt: skip
            out = io.BytesIO()
            with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
                for info in old.infolist():
                    data = old.read(info)
                    if info.filename == "annotations.xml":
                        dumped = f"<dumped>{job.updated}</dumped>".encode()
                        data = re.sub(rb"<dumped>.*</dumped>", dumped, data)
                    new.writestr(zipfile.ZipInfo(info.filename), data)
        return out.getvalue()

    def take(self, job: Job, data: bytes, mode: str) -> None:
        """Import "CVAT 1.1": of a mask track one shape is made, of any other a track."""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            root = ElementTree.fromstring(archive.read("annotations.xml"))
        if mode == "replace":
            job.shapes, job.tags, job.tracks = [], [], []
        ids = {name: number for number, name in NAMES.items()}
        for track in root.iter("track"):
            mask = track.find("mask")
            if mask is None:
                job.tracks.append({"label_id": ids[track.attrib["label"]], "frame": 0})
                continue
            label = ids[track.attrib["label"]]
            job.shapes.append(imported(mask, label, job.step, job.unused))
        job.changes += 1


class _Handler(BaseHTTPRequestHandler):
    cvat: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_HEAD = do_GET  # noqa: N815

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.cvat.asked.append((self.command, self.path, dict(self.headers.items())))
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        path = unquote(parts.path).rstrip("/")
        if self.cvat.leads_to:
            return self._json({}, 301, {"Location": self.cvat.leads_to + self.path})
        if path == "/api/server/about":
            return self._json(
                said(
                    models.About, name="CVAT", description="", version=self.cvat.version,
                    logo_url="", subtitle="",
                )
            )  # fmt: skip
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._json({"detail": "Invalid token."}, 401)
        if self.cvat.status:
            return self._json({"detail": "You may not."}, self.cvat.status)
        if path == "/api/jobs":
            jobs = [j for j in self.cvat.jobs.values() if j.state == asked.get("state", j.state)]
            rows = [self._job(job) for job in jobs]
            return self._json({"count": len(rows), "next": None, "results": rows})
        if path == "/api/labels":
            rows = [said_label(number) for number in NAMES]
            return self._json({"count": len(rows), "next": None, "results": rows})
        if path == "/api/functions":
            self.cvat.functions.append(json.loads(body))
            return self._json({**self.cvat.functions[-1], "id": 5}, 201)
        if path == "/api/functions/5":
            defaults = {"min_neg_points": -1, "startswith_box": False}
            return self._json({**defaults, **self.cvat.functions[-1], "id": 5})
        if path == "/api/functions/queues/function:5/watch":
            return self._watch()
        if path.startswith("/api/functions/queues/function:5/requests/"):
            step = path.split("/requests/")[1]
            return self._json(self.cvat.queue.answer(step, json.loads(body)))
        if path.startswith("/api/requests/"):
            return self._request(path.rsplit("/", 1)[1])
        found = re.fullmatch(r"/api/(job|task)s/(\d+)(/.*)?", path)
        job = self.cvat.jobs.get(int(found[2])) if found else None
        if found is None or job is None:
            return self._json({"detail": "Not found."}, 404)
        return self._of(found[1], job, found[3] or "", asked, body)

    def _of(self, kind: str, job: Job, rest: str, asked: dict[str, str], body: bytes) -> None:
        if not rest:
            return self._json(self._job(job) if kind == "job" else self._task(job))
        if rest == "/annotations" and self.command == "GET":
            found = {"version": 0, "tags": [*job.tags], "shapes": [filled(s) for s in job.shapes]}
            self.cvat.on_read(job)
            return self._json({**found, "tracks": job.tracks})
        if rest == "/annotations" and self.command == "PATCH":
            return self._save(job, asked["action"], json.loads(body))
        if rest == "/data/meta":
            height, width = job.clip.maps[0].shape
            frame = {"name": "clip.mp4", "width": width, "height": height, "related_files": 0}
            return self._json(
                {
                    "chunks_updated_date": str(job.updated), "frames": [frame],
                    "deleted_frames": sorted(job.deleted),
                }
            )  # fmt: skip
        if rest == "/data":
            assert (asked["type"], asked["quality"]) == ("frame", "original")
            return self._bytes(png(job.clip.images[int(asked["number"])]), "image/png")
        if rest == "/dataset/export":
            assert asked["format"] == "CVAT for video 1.1"
            name = f"export-{kind}-{job.number}-{asked['save_images']}-{job.changes}"
            data = self.cvat.export(job, kind, asked["save_images"] == "True")
            self.cvat.exports[name] = data
            self.cvat.on_export(job)
            return self._json(said(models.RqId, rq_id=name), 202)
        if rest == "/dataset/download":
            return self._download(self.cvat.exports[asked["rq_id"]], asked["rq_id"])
        return self._upload(job, rest, asked, body)

    def _save(self, job: Job, action: str, data: dict[str, Any]) -> None:
        """The server's rules: the SDK's models, known labels and attributes, frames of the job."""
        cvat = self.cvat
        assert action in ("create", "update")
        assert not data["tags"]
        assert not data["tracks"]
        validate_and_convert_types(
            data, (models.PatchedLabeledDataRequest,), ["body"], True, True,
            Configuration(host="http://x"),
        )  # fmt: skip
        cvat.batches.append(len(data["shapes"]))
        dies = len(cvat.batches) == cvat.dies_at
        self.close_connection = dies
        if dies and not cvat.dies_after:
            return None
        for shape in data["shapes"]:
            specs = {each["spec_id"] for each in shape["attributes"]}
            known = shape["label_id"] in NAMES and specs <= {*ATTRIBUTES[shape["label_id"]]}
            last = job.first + len(job.clip.images) - 1
            if not known or not job.first <= shape["frame"] <= last:
                return self._json(["spec_id or label_id or frame is invalid"], 400)
        rest = {"outside": False, "rotation": 0.0, "elements": []}
        if action == "update":  # takes the place of what has its number
            saved = data["shapes"]
            taken = {shape["id"] for shape in saved}
            kept = [shape for shape in job.shapes if shape["id"] not in taken]
        else:
            kept = job.shapes
            saved = [{**rest, **s, "id": n} for n, s in enumerate(data["shapes"], job.unused)]
        job.shapes = [*kept, *saved]
        job.changes += 1
        return None if dies else self._json({**data, "shapes": saved})

    def _watch(self) -> None:
        """Tell of requests, one event each, until the agent goes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in self.cvat.queue.events():
            try:
                self.wfile.write(event)
                self.wfile.flush()
            except OSError:
                return

    def _download(self, data: bytes, name: str) -> None:
        begin, status = 0, 200
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == f'"{name}"':
            self.cvat.ranges.append(wanted)
            begin, status = int(wanted[6:-1]), 206
        if begin and begin >= len(data):
            return self._json({}, 416)
        self.send_response(status)
        self.send_header("ETag", f'"{name}"')
        self.send_header("Content-Length", str(len(data) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.cvat.broken is not None:
            data, self.cvat.broken = data[: begin + self.cvat.broken], None
            self.close_connection = True
        self.wfile.write(data[begin:])
        return None

    def _upload(self, job: Job, rest: str, asked: dict[str, str], body: bytes) -> None:
        """The server's form of tus: start, create, patch, finish."""
        if "Upload-Start" in self.headers:
            return self._json({}, 202)
        if "Upload-Finish" in self.headers:
            mode = asked.get("import_mode", "replace")
            if tuple(int(n) for n in self.cvat.version.split(".")[:2]) < (2, 65):
                mode = "replace"  # an unknown parameter is passed over
            assert asked["format"] == "CVAT 1.1"
            self.cvat.imports.append((mode, asked["filename"]))
            if self.cvat.failure:
                return self._json(said(models.RqId, rq_id=f"import-job-{job.number}"), 202)
            self.cvat.take(job, bytes(self.cvat.uploads.pop(asked["filename"])), mode)
            return self._json(said(models.RqId, rq_id=f"import-job-{job.number}"), 202)
        if self.command == "POST":
            pairs = dict(part.split(" ") for part in self.headers["Upload-Metadata"].split(","))
            name = base64.b64decode(pairs["filename"]).decode()
            self.cvat.uploads[name] = bytearray()
            # As behind a proxy that does not say who it is: another host than the one asked.
            where = f"http://cvat.invalid{urlsplit(self.path).path}{name}"
            return self._json({}, 201, {"Location": where, "Upload-Filename": name})
        upload = self.cvat.uploads[rest.rsplit("/", 1)[1]]
        upload += body
        return self._json({}, 204, {"Upload-Offset": str(len(upload))})

    def _request(self, name: str) -> None:
        operation, kind, number, *_ = name.split("-")
        url = None
        if operation == "export":
            url = f"http://cvat.invalid/api/{kind}s/{number}/dataset/download?rq_id={name}"
        self._json(
            said(
                models.Request,
                status=models.RequestStatus("failed" if self.cvat.failure else "finished"),
                id=name, result_url=url,
                operation=models.RequestDataOperation._from_openapi_data(
                    type=f"{operation}:dataset", target=kind
                ),
                created_date=datetime(2026, 1, 1, tzinfo=UTC), message=self.cvat.failure,
            )
        )  # fmt: skip

    def _job(self, job: Job) -> Any:
        frames = len(job.clip.images)
        return said(
            models.JobRead, issues=models.IssuesSummary._from_openapi_data(url="x", count=0),
            labels=models.LabelsSummary._from_openapi_data(url="x"), url="x", id=job.number,
            task_id=1, dimension="2d", mode="interpolation", state=job.state, stage="annotation",
            type="annotation", frame_count=frames, start_frame=job.first,
            stop_frame=job.first + frames - 1, updated_date=job.updated, created_date=job.updated,
        )  # fmt: skip

    def _task(self, job: Job) -> Any:
        return said(
            models.TaskRead, jobs=models.JobsSummary._from_openapi_data(completed=0, validation=0),
            labels=models.LabelsSummary._from_openapi_data(url="x"), id=job.number, name="clip",
            size=len(job.clip.images), updated_date=job.updated, data_chunk_size=36,
            data_original_chunk_type="video", organization=None,
        )  # fmt: skip

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = b"" if status == 204 else json.dumps(value).encode()
        self._bytes(data, "application/json", status, headers)

    def _bytes(
        self, data: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, text in ({"Content-Type": kind} | (headers or {})).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
