"""Promise: a result can be downloaded in every form, as `relay export` writes it, with a sentence
where it cannot be, and nothing is left behind on the server."""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import cli
from config import Settings
from cvat_io.shards import part_of
from jobs.db import open_database
from jobs.files import JobFiles
from jobs.service import Jobs
from jobs.views import Role
from tests.web.kit import FRAMES, KEY_TEXT, MakeExport, upload
from web.context import KEY
from worker.heartbeat import Identity
from worker.loop import SpanLoop

PATH = "/api/jobs/264/download"
_NEWNS = 0x00020000  # CLONE_NEWNS of unshare(2)


def work(settings: Settings) -> None:
    """Do what is queued, as a worker does."""
    database = open_database(settings)
    loop = SpanLoop(settings, database, Identity(name="w", host="here", device="cpu"))
    while loop.step():
        pass
    database.close()


def left(settings: Settings) -> list[Path]:
    folder = settings.data_dir / "tmp"
    return list(folder.iterdir()) if folder.is_dir() else []


def name_of(answer: TestResponse) -> str:
    return answer.headers["Content-Disposition"].partition("filename=")[2]


@pytest.fixture
def done(client: FlaskClient, make_export: MakeExport, settings: Settings) -> FlaskClient:
    """A client of a server that has a result of job 264."""
    upload(client, make_export())
    client.post("/api/jobs/264/runs", json={})
    work(settings)
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "completed"
    return client


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("format=coco", ["--format", "coco"]),
        ("format=masks", ["--format", "masks"]),
        ("format=polygons", ["--format", "polygons"]),
        ("format=polygons&tolerance=0", ["--format", "polygons", "--tolerance", "0"]),
    ],
)
def test_what_is_sent_is_what_the_command_writes(
    done: FlaskClient, settings: Settings, tmp_path: Path, query: str, options: list[str]
) -> None:
    answer = done.get(f"{PATH}?{query}")
    assert answer.status_code == 200, answer.text
    form = options[1]
    assert name_of(answer) == f"264_{form}.zip"
    assert answer.headers["Content-Type"] == "application/zip"
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    files = JobFiles(settings.data_dir)
    given = ["export", str(files.result("264", 1, 1)), "--out", str(tmp_path / "x.zip"), *options]
    if form != "polygons":
        given += ["--images", str(files.revision("264", 1) / "export.zip")]
    assert cli.main(given) == 0
    assert (tmp_path / "x.zip").read_bytes() == answer.data
    assert left(settings) == []
    assert ("Relay-Notes" in answer.headers) == (form == "polygons")


def test_notes_of_polygons_come_along_and_stand_in_the_audit(done: FlaskClient, app: Flask) -> None:
    answer = done.get(f"{PATH}?format=polygons")
    assert f"1 object: {FRAMES} polygons in 1 track." in answer.headers["Relay-Notes"]
    assert 'The type of "car" in this job is "mask"' in answer.headers["Relay-Notes"]
    jobs: Jobs = app.extensions[KEY].jobs
    last = jobs.audit(1)[0]
    assert (last.action, last.job_id) == ("download", "264")
    assert last.detail.startswith("run 1 as polygons 1 object: ")


def test_the_video_shows_every_frame(done: FlaskClient, settings: Settings) -> None:
    answer = done.get(f"{PATH}?format=overlay")
    assert (name_of(answer), answer.headers["Content-Type"]) == ("264_overlay.mp4", "video/mp4")
    with av.open(io.BytesIO(answer.data)) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert left(settings) == []


def test_cvat_is_the_result_itself_or_its_parts(done: FlaskClient, settings: Settings) -> None:
    whole = done.get("/api/jobs/264/result.zip")
    for query in ("", "?format=cvat", "?format=cvat&run=1"):
        answer = done.get(PATH + query)
        assert (answer.data, name_of(answer)) == (whole.data, "264_result.zip")
    answer = done.get(f"{PATH}?format=cvat&shard_mb=1")
    assert name_of(answer) == "264_result_parts.zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.namelist() == ["264_result_part1of1.zip"]
        assert archive.read("264_result_part1of1.zip") == whole.data
        assert part_of(archive.comment) == 0
    assert left(settings) == []


def test_an_older_run_keeps_its_images_and_its_name(
    done: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    upload(done, make_export((0, 3), images=False))
    done.post("/api/jobs/264/runs", json={})
    work(settings)
    names = {"": "264_coco.zip", "&run=2": "264_coco.zip", "&run=1": "264_coco_run1.zip"}
    for query, name in names.items():
        answer = done.get(f"{PATH}?format=coco{query}")
        assert name_of(answer) == name
        with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
            coco = json.loads(archive.read("annotations/instances_default.json"))
        assert len(coco["images"]) == FRAMES
    assert done.get(f"{PATH}?format=overlay").status_code == 200  # of the export that has them


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("format=png", "format=png is unknown: use one of cvat, coco, masks, polygons, overlay."),
        ("format=coco&tolerance=1", "tolerance is of format=polygons, not of coco"),
        ("format=polygons&shard_mb=1", "shard_mb is of format=cvat, not of polygons"),
        ("format=polygons&tolerance=-1", "give a number, 0 to 100"),
        ("format=polygons&tolerance=nan", "give a number, 0 to 100"),
        ("format=cvat&shard_mb=0", "give a whole number, 1 to"),
        ("format=coco&run=first", "run=first cannot be used"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    client: FlaskClient, query: str, sentence: str
) -> None:
    answer = client.get(f"{PATH}?{query}")
    assert answer.status_code == 400
    assert sentence in answer.get_json()["error"]


@pytest.mark.parametrize("form", ["cvat", "coco", "polygons"])
def test_without_a_result_there_is_nothing_to_download(
    client: FlaskClient, make_export: MakeExport, form: str
) -> None:
    assert client.get(f"{PATH}?format={form}").status_code == 404
    upload(client, make_export())
    answer = client.get(f"{PATH}?format={form}")
    assert answer.status_code == 404
    assert "wait until a run is completed" in answer.get_json()["error"]


def test_files_that_are_gone_or_damaged_are_told_of(done: FlaskClient, settings: Settings) -> None:
    export = JobFiles(settings.data_dir).revision("264", 1) / "export.zip"
    data = bytearray(export.read_bytes())
    with zipfile.ZipFile(export) as archive:
        info = archive.getinfo("images/frame_000004.PNG")
    at = info.header_offset + 30 + len(info.filename) + info.file_size // 2
    data[at : at + 8] = bytes(8)
    export.write_bytes(data)
    answer = done.get(f"{PATH}?format=overlay")
    assert answer.status_code == 400
    assert "frame_000004.PNG" in answer.get_json()["error"]
    assert left(settings) == []
    export.unlink()
    answer = done.get(f"{PATH}?format=overlay")
    assert answer.status_code == 409
    assert "upload its export with images again" in answer.get_json()["error"]
    assert done.get(f"{PATH}?format=polygons").status_code == 200  # needs none


@pytest.mark.parametrize("query", ["format=polygons", "format=overlay", "format=cvat&shard_mb=1"])
def test_a_full_disk_is_the_servers_own_trouble(
    done: FlaskClient, app: Flask, settings: Settings, query: str
) -> None:
    folder = settings.data_dir / "tmp"
    folder.mkdir(exist_ok=True)
    answers: list[tuple[int, str, list[Path]]] = []
    troubles: list[str] = []

    def ask() -> None:  # in a thread: what it mounts, only it and its processes see
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEWNS) != 0:
            troubles.append(os.strerror(ctypes.get_errno()))
            return
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        small = ["mount", "-t", "tmpfs", "-o", "size=4k", "relay-downloads", str(folder)]
        subprocess.run(small, check=True)
        (folder / "ballast").write_bytes(bytes(4096))
        answer = app.test_client().get(f"{PATH}?{query}")
        answers.append((answer.status_code, answer.get_json()["error"], left(settings)))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    if troubles:
        pytest.skip(f"mounting is not allowed here ({troubles[0]})")
    sentence = "The server's disk is full: make room in DATA_DIR, then go on (or send it again)."
    assert answers == [(507, sentence, [folder / "ballast"])]
    assert done.get(f"{PATH}?{query}").status_code == 200


def test_a_look_makes_nothing_and_a_foreign_page_gets_nothing(
    done: FlaskClient, settings: Settings
) -> None:
    assert done.head(f"{PATH}?format=polygons").status_code == 200
    answer = done.get(f"{PATH}?format=polygons", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "error" in answer.get_json()
    assert left(settings) == []


def test_a_viewer_may_download_and_a_stranger_may_not(
    settings: Settings, make_app: Callable[[Settings], Flask], make_export: MakeExport
) -> None:
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    client = app.test_client()
    key = {"Authorization": f"Bearer {KEY_TEXT}"}
    assert client.post("/api/jobs?name=264.zip", data=make_export(), headers=key).status_code == 201
    assert client.post("/api/jobs/264/runs", json={}, headers=key).status_code == 201
    work(settings)
    viewer = app.extensions[KEY].jobs.tokens.add("vera", Role.VIEWER)
    assert client.get(f"{PATH}?format=polygons").status_code == 401
    answer = client.get(f"{PATH}?format=polygons", headers={"Authorization": f"Bearer {viewer}"})
    assert answer.status_code == 200


def test_who_comes_while_all_places_are_taken_waits_for_one(done: FlaskClient, app: Flask) -> None:
    downloads = app.extensions[KEY].downloads
    taken = 0
    while downloads.take_slot():
        taken += 1
    assert taken >= 1
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(app.test_client().get(f"{PATH}?format=polygons").status_code)
    )
    asking.start()
    asking.join(1)
    assert answers == []
    assert done.get("/api/jobs/264").status_code == 200  # nobody else is held up
    for _ in range(taken):
        downloads.give_slot()
    asking.join(60)
    assert answers == [200]
    for _ in range(taken):  # and all places are free again
        assert downloads.take_slot()
