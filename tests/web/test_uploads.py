"""Promise: an export arrives whole or leaves nothing, whatever its name and its bytes are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from tests.web.kit import MakeExport, upload


def test_an_uploaded_export_is_ready_and_found_by_its_id(
    client: FlaskClient, make_export: MakeExport
) -> None:
    answer = client.post("/api/jobs?name=264.zip", data=make_export())
    job = answer.get_json()

    assert answer.status_code == 201
    assert answer.headers["Location"] == "/api/jobs/264"
    assert (job["id"], job["state"]) == ("264", "ready")
    assert job["revision"]["key_frames"] == [0, 5]
    assert client.get("/api/jobs/264").get_json()["job"] == job
    assert [j["id"] for j in client.get("/api/jobs").get_json()["jobs"]] == ["264"]


def test_a_form_uploads_a_file_as_curl_sends_it(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    answer = client.post("/api/jobs", data={"file": (io.BytesIO(make_export()), "264.zip")})

    assert answer.status_code == 201
    assert answer.get_json()["id"] == "264"
    assert not any((settings.data_dir / "incoming").iterdir())


def test_a_body_sent_as_a_plain_form_by_curl_data_binary_is_taken_as_it_is(
    client: FlaskClient, make_export: MakeExport
) -> None:
    answer = client.post(
        "/api/jobs?name=264.zip",
        data=make_export(),
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.get_json()["state"] == "ready"


def test_the_same_name_with_new_content_is_a_new_revision(
    client: FlaskClient, make_export: MakeExport
) -> None:
    upload(client, make_export())
    job = upload(client, make_export((0, 2, 5)))

    assert job["revision"]["number"] == 2
    assert client.get("/api/jobs").get_json()["total"] == 1


def test_a_truncated_upload_leaves_nothing(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    data = make_export()
    answer = client.post(
        "/api/jobs?name=264.zip",
        data=data[: len(data) // 2],
        environ_overrides={"CONTENT_LENGTH": str(len(data))},
    )
    assert answer.status_code == 400
    assert client.get("/api/jobs").get_json()["total"] == 0
    assert leftovers(settings.data_dir) == []


def test_an_export_that_cannot_be_tracked_becomes_a_failed_job_with_the_reason(
    client: FlaskClient, make_export: MakeExport
) -> None:
    job = upload(client, make_export(()))
    assert job["state"] == "failed"
    assert "mask" in job["reason"]
    again = client.post("/api/jobs/264/runs", json={})
    assert again.status_code in (400, 409)


@pytest.mark.parametrize(
    ("name", "body"),
    [("264.zip", b"no archive at all"), ("264.zip", b""), ("264.txt", b"PK"), ("", b"x")],
)
def test_what_is_no_archive_is_refused_and_leaves_nothing(
    client: FlaskClient, settings: Settings, name: str, body: bytes
) -> None:
    answer = client.post("/api/jobs", query_string={"name": name}, data=body)
    assert answer.status_code == 400
    assert client.get("/api/jobs").get_json()["total"] == 0
    assert leftovers(settings.data_dir) == []


def test_a_form_without_a_file_is_told_how_to_send_one(client: FlaskClient) -> None:
    answer = client.post("/api/jobs", data={"a": "b"}, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert "curl -F" in answer.get_json()["error"]


@pytest.mark.parametrize(
    "name",
    [
        "../../../escaped.zip",
        "/etc/escaped.zip",
        "..\\..\\escaped.zip",
        "a\x00b.zip",
        "a\nb.zip",
        "<script>alert(1)</script>.zip",
        "\u202egpj.zip",
        "x" * 5000 + ".zip",
        "..zip",
        ".zip",
        "con.zip",
        "%2e%2e%2fescaped.zip",
        "\U0001f600.zip",
    ],
)
def test_a_hostile_name_is_refused_or_stays_in_its_place(
    client: FlaskClient, make_export: MakeExport, settings: Settings, name: str, tmp_path: Path
) -> None:
    before = {path for path in tmp_path.rglob("*") if settings.data_dir not in path.parents}
    answer = client.post("/api/jobs", query_string={"name": name}, data=make_export())
    after = {path for path in tmp_path.rglob("*") if settings.data_dir not in path.parents}

    assert after == before
    if answer.status_code == 201:
        job = answer.get_json()
        assert client.get(answer.headers["Location"]).get_json()["job"]["id"] == job["id"]
        page = client.get("/").text
        assert "<script>alert" not in page
    else:
        assert answer.status_code == 400
        assert len(answer.get_json()["error"]) <= 400


def test_an_archive_over_the_limit_is_a_413_that_names_the_setting(
    settings: Settings, make_app: Callable[[Settings], Flask], make_export: MakeExport
) -> None:
    small = replace(settings, limits=replace(settings.limits, archive_bytes=100))
    client = make_app(small).test_client()
    announced = client.post("/api/jobs?name=264.zip", data=make_export())
    form = client.post("/api/jobs", data={"file": (io.BytesIO(make_export()), "264.zip")})

    for answer in (announced, form):
        assert answer.status_code == 413
        assert "MAX_ARCHIVE_BYTES" in answer.get_json()["error"]
    assert client.get("/api/jobs").get_json()["total"] == 0
    assert leftovers(settings.data_dir) == []


def test_a_zip_with_hostile_members_never_writes_outside(
    client: FlaskClient, settings: Settings, tmp_path: Path
) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("../../escaped.txt", "x")
        archive.writestr("annotations.xml", "<annotations/>")
    before = set(tmp_path.iterdir())
    answer = client.post("/api/jobs?name=evil.zip", data=body.getvalue())
    assert answer.status_code in (201, 400)
    if answer.status_code == 201:
        assert answer.get_json()["state"] == "failed"
    assert set(tmp_path.iterdir()) == before


def leftovers(data_dir: Path) -> list[Path]:
    """Files below DATA_DIR that a refused upload might have left."""
    return [
        path
        for folder in ("jobs", "incoming", "tmp")
        for path in (data_dir / folder).rglob("*")
        if path.is_file()
    ]
