"""Promise: everything that people do with jobs can be done by programs, under /api/, as JSON."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from contextlib import closing

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from config import Settings
from jobs.db import open_database
from tests.web.kit import MakeExport, upload
from worker.heartbeat import Identity
from worker.loop import SpanLoop


def test_the_list_is_searched_filtered_and_paged(
    client: FlaskClient, make_export: MakeExport
) -> None:
    for name in ("one.zip", "two.zip", "three.zip"):
        upload(client, make_export(), name)

    def ids(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/api/jobs?{query}").get_json()["jobs"]]

    assert set(ids("")) == {"one", "two", "three"}
    assert ids("search=tw") == ["two"]
    assert ids("state=running") == []
    assert len(ids("limit=2")) == 2
    assert len(ids("limit=2&offset=2")) == 1


def test_the_board_holds_all_five_boxes(client: FlaskClient, make_export: MakeExport) -> None:
    upload(client, make_export())
    board = client.get("/api/board").get_json()

    assert [job["id"] for job in board["ready"]] == ["264"]
    assert board["counts"]["ready"] == 1
    assert [board[box] for box in ("queued", "running", "completed", "failed")] == [[], [], [], []]


def test_a_run_is_planned_without_starting_it_and_then_started_and_cancelled(
    client: FlaskClient, make_export: MakeExport
) -> None:
    upload(client, make_export())
    plan = client.post("/api/jobs/264/plan", json={"mode": "initial"})
    assert plan.status_code == 200
    assert plan.get_json()["frames_total"] == 4
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "ready"

    run = client.post("/api/jobs/264/runs", json={"engine": "builtin"})
    assert run.status_code == 201
    assert run.get_json()["frames_total"] == 4
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "queued"

    second = client.post("/api/jobs/264/runs", json={})
    assert second.status_code == 409
    assert list(second.get_json()) == ["error"]

    cancelled = client.post("/api/jobs/264/cancel")
    assert cancelled.get_json()["state"] == "failed"
    assert client.post("/api/jobs/264/cancel").status_code == 409

    retried = client.post("/api/jobs/264/retry")
    assert retried.status_code == 201
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "queued"


def test_a_run_without_a_body_takes_the_default_options(
    client: FlaskClient, make_export: MakeExport
) -> None:
    upload(client, make_export())
    run = client.post("/api/jobs/264/runs").get_json()
    assert run["options"]["mode"] == "initial"
    assert run["options"]["direction"] == "both"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"mode": "again"}, "initial or resegment"),
        ({"parallel_spans": -1}, "parallel_spans"),
        ({"parallel_spans": True}, "whole number"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "0 to 4294967295"),
        ({"seed": 1.5}, "whole number"),
        ({"stop_at_divergence": 1.5}, "from 0 (never) to 1"),
        ({"stop_at_divergence": "half"}, "a number"),
        ({"stop_at_divergence": True}, "a number"),
        ({"min_speck": -1}, "a number of pixels, 0 (none is cleaned) to 1000000"),
        ({"min_hole": 1_000_001}, "a number of pixels, 0 (none is cleaned) to 1000000"),
        ({"parallel_spans": "two"}, "whole number"),
        ({"reuse_previous": 1}, "true or false"),
        ({"engine": None}, "a text"),
        ({"frames": [1, 2]}, "a text"),
        ({"frames": "2,x"}, "x"),
        ({"direction": ["both"]}, "both or forward"),
        ({"prompts": "circles"}, "off or boxes or polygons or boxes,polygons"),
        ([1, 2], "JSON object"),
        ("initial", "JSON object"),
    ],
)
def test_options_that_cannot_be_used_are_named_in_one_sentence(
    client: FlaskClient, make_export: MakeExport, body: object, named: str
) -> None:
    upload(client, make_export())
    answer = client.post("/api/jobs/264/runs", json=body)

    assert answer.status_code == 400
    sentence = answer.get_json()["error"]
    assert named in sentence
    assert len(sentence) <= 400
    assert client.get("/api/jobs/264").get_json()["runs"] == []


def test_a_broken_or_wrongly_labelled_or_huge_json_body_is_refused(
    client: FlaskClient, make_export: MakeExport
) -> None:
    upload(client, make_export())
    path = "/api/jobs/264/runs"
    broken = client.post(path, data="{", content_type="application/json")
    text = client.post(path, data='{"mode": "initial"}', content_type="text/plain")
    huge = client.post(path, json={"frames": "1," * 100_000})

    assert (broken.status_code, text.status_code, huge.status_code) == (400, 415, 413)
    assert all(list(a.get_json()) == ["error"] for a in (broken, text, huge))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs/none"),
        ("DELETE", "/api/jobs/none"),
        ("POST", "/api/jobs/none/runs"),
        ("POST", "/api/jobs/none/plan"),
        ("POST", "/api/jobs/none/cancel"),
        ("POST", "/api/jobs/none/retry"),
        ("GET", "/api/jobs/none/result.zip"),
        ("GET", "/api/jobs/..%2f..%2fetc%2fpasswd"),
        ("GET", "/api/nothing"),
        ("GET", "/api/"),
    ],
)
def test_what_is_not_there_is_a_404_in_json(client: FlaskClient, method: str, path: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == 404
    assert list(answer.get_json()) == ["error"]


def test_a_wrong_method_is_a_405_in_json(client: FlaskClient) -> None:
    answer = client.put("/api/jobs")
    assert answer.status_code == 405
    assert "PUT" in answer.get_json()["error"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=501", "offset=-1", "state=lost", "limit=1e3"]
)
def test_a_query_that_cannot_be_used_is_a_400(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/api/jobs?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.get_json()["error"]


def test_a_result_that_is_not_there_yet_is_a_404_that_says_so(
    client: FlaskClient, make_export: MakeExport
) -> None:
    upload(client, make_export())
    for query in ("", "?run=3"):
        answer = client.get(f"/api/jobs/264/result.zip{query}")
        assert answer.status_code == 404
        assert "result" in answer.get_json()["error"]
    assert client.get("/api/jobs/264/result.zip?run=first").status_code == 400


def test_a_result_is_downloaded_whole_or_in_part_and_ends_its_line_in_updates_txt(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    updates = settings.downloads_path / "updates.txt"
    updates.parent.mkdir(parents=True)
    updates.write_text("264.zip\n265.zip\n")
    upload(client, make_export())
    client.post("/api/jobs/264/runs", json={})
    work(settings)
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "completed"

    assert client.head("/api/jobs/264/result.zip").status_code == 200
    assert updates.read_text() == "264.zip\n265.zip\n"
    answer = client.get("/api/jobs/264/result.zip")
    assert answer.headers["Content-Type"] == "application/zip"
    assert file_name(answer) == "264_result.zip"
    assert zipfile.ZipFile(io.BytesIO(answer.data)).namelist() == ["annotations.xml"]
    assert updates.read_text() == "265.zip\n"
    assert client.get("/api/jobs/264/result.zip?run=1").data == answer.data
    assert client.get("/api/jobs/264/result.zip?run=2").status_code == 404
    part = client.get("/api/jobs/264/result.zip", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.data) == (206, answer.data[:4])
    page = client.get("/").text
    assert 'id="job-264"' in page.partition('id="cards-completed"')[2]


def test_an_older_result_stays_within_reach_and_is_named_after_its_run(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    def offered() -> bool:
        card = client.get("/").text.partition('id="job-264"')[2].partition("</article>")[0]
        return 'data-action="download"' in card

    upload(client, make_export())
    assert not offered()
    client.post("/api/jobs/264/runs", json={})
    assert not offered()
    work(settings)
    assert offered()
    client.post("/api/jobs/264/runs", json={"direction": "forward"})
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "queued"
    assert offered()
    client.post("/api/jobs/264/cancel")
    assert offered()
    client.post("/api/jobs/264/retry")
    work(settings)

    path = "/api/jobs/264/result.zip"
    assert file_name(client.get(path)) == "264_result.zip"
    assert file_name(client.get(f"{path}?run=2")) == "264_result.zip"
    assert file_name(client.get(f"{path}?run=1")) == "264_result_run1.zip"
    upload(client, make_export(()))
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "failed"
    assert offered()


def test_a_deleted_job_is_gone(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    upload(client, make_export())
    assert client.delete("/api/jobs/264").status_code == 204
    assert client.get("/api/jobs/264").status_code == 404
    assert client.get("/api/jobs").get_json()["total"] == 0
    assert not (settings.data_dir / "jobs" / "264").exists()


def test_a_fault_of_ours_is_one_plain_sentence_and_its_traceback_is_in_the_log(
    client: FlaskClient,
    make_export: MakeExport,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    upload(client, make_export())
    with closing(sqlite3.connect(settings.data_dir / "relay.db")) as database:
        database.execute("ALTER TABLE jobs RENAME TO lost")

    answer = client.get("/api/jobs")

    assert answer.status_code == 500
    assert "Traceback" not in answer.text
    assert "SELECT" not in answer.text
    assert list(answer.get_json()) == ["error"]
    assert any(record.exc_info for record in caplog.records)


def test_health_says_whether_work_can_be_taken_without_any_worker(client: FlaskClient) -> None:
    status = client.get("/api/status").get_json()
    assert status["ready"] is True
    assert status["workers"] == 0
    assert client.get("/readyz").status_code == 200
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/workers").get_json() == {"workers": []}


def test_a_server_that_cannot_write_is_not_ready_and_says_why(
    client: FlaskClient, settings: Settings
) -> None:
    settings.data_dir.rename(f"{settings.data_dir}-away")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "DATA_DIR" in answer.get_json()["reason"]


def work(settings: Settings) -> None:
    """Do what is queued, as a worker does."""
    database = open_database(settings)
    loop = SpanLoop(settings, database, Identity(name="w", host="here", device="cpu"))
    while loop.step():
        pass
    database.close()


def file_name(answer: TestResponse) -> str:
    """Return the name under which a browser would keep a download."""
    return answer.headers["Content-Disposition"].partition("filename=")[2]
