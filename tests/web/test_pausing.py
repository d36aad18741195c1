"""Promise: a person holds a run and lets it go on, from the page and by the API; pages say why."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from tests.web.kit import MakeExport, upload
from web.context import KEY
from worker import presence


def test_a_run_is_paused_and_resumed(client: FlaskClient, make_export: MakeExport) -> None:
    upload(client, make_export())
    assert client.post("/api/jobs/264/pause").status_code == 409
    client.post("/api/jobs/264/runs", json={"priority": "high"})
    paused = client.post("/api/jobs/264/pause")
    assert paused.status_code == 200
    job = paused.get_json()
    assert (job["state"], job["run"]["state"]) == ("queued", "paused")
    assert job["run"]["options"]["priority"] == "high"
    again = client.post("/api/jobs/264/runs", json={})
    assert again.status_code == 409
    assert "resume it or cancel it" in again.get_json()["error"]
    for path in ("/", "/jobs/264"):
        page = client.get(path).text
        assert "Paused at 0 of" in page
        assert 'data-action="resume"' in page
        assert 'data-action="pause"' not in page

    resumed = client.post("/api/jobs/264/resume")
    assert resumed.get_json()["state"] == "queued"
    assert 'data-action="pause"' in client.get("/").text
    assert client.post("/api/jobs/264/resume").status_code == 409


def test_pages_and_status_say_why_a_worker_waits(app: Flask, client: FlaskClient) -> None:
    why = "waits: only 3 MiB are free in DATA_DIR /data; make room or mend it"
    with app.extensions[KEY].jobs.database.write() as session:
        presence.report(session, "anna", "here", "cpu", doing="", trouble=why)
    assert f"Worker anna {why}." in client.get("/").text
    assert f"Worker anna {why}." in client.get("/api/status").get_json()["notices"]
    assert client.get("/api/workers").get_json()["workers"][0]["trouble"] == why
