"""Promise: an upload goes on where it broke off, and becomes the whole export, once."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from tests.web.kit import KEY_TEXT, MakeExport
from tests.web.pieces import (
    PIECE,
    TUS,
    create,
    export_of,
    metadata,
    offset,
    patch,
)


def test_pieces_become_the_export_and_the_job_is_named(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    data = make_export()
    place = create(client, data)
    assert offset(client, place) == 0
    first = patch(client, place, 0, data[:100])
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, "100")
    assert first.headers["Tus-Resumable"] == "1.0.0"
    assert first.headers["Upload-Expires"].endswith("GMT")
    assert "Upload-Job" not in first.headers

    last = patch(client, place, 100, data[100:])
    assert (last.status_code, last.headers["Upload-Job"]) == (204, "264")
    seen = client.get(place)
    assert seen.get_json() == {
        "id": place.rpartition("/")[2],
        "name": "264.zip",
        "bytes": len(data),
        "offset": len(data),
        "job": "264",
        "error": "",
    }
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "ready"
    assert export_of(settings.data_dir, "264", 1) == data
    assert list((settings.data_dir / "uploads").glob("*.part")) == []


def test_what_the_server_can_is_told(client: FlaskClient, settings: Settings) -> None:
    answer = client.options("/api/uploads")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == "creation,termination,expiration"
    assert answer.headers["Tus-Max-Size"] == str(settings.limits.archive_bytes)


def test_how_far_it_came_is_told_and_kept_by_no_cache(
    client: FlaskClient, make_export: MakeExport
) -> None:
    data = make_export()
    place = create(client, data)
    patch(client, place, 0, data[:7])
    answer = client.head(place, headers=TUS)
    assert answer.status_code == 200
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == (
        "7",
        str(len(data)),
    )
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("wrong", [0, 99, 101, 10**6])
def test_a_wrong_offset_is_a_409_and_writes_nothing(
    client: FlaskClient, make_export: MakeExport, wrong: int
) -> None:
    data = make_export()
    place = create(client, data)
    patch(client, place, 0, data[:100])
    answer = patch(client, place, wrong, b"x")
    assert answer.status_code == 409
    assert "100 bytes" in answer.get_json()["error"]
    assert offset(client, place) == 100
    assert patch(client, place, 100, data[100:]).headers["Upload-Job"] == "264"


def test_bytes_beyond_the_end_are_refused(client: FlaskClient, make_export: MakeExport) -> None:
    data = make_export()
    place = create(client, data)
    assert patch(client, place, 0, data + b"x").status_code == 413
    assert offset(client, place) == 0


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (412, {"Tus-Resumable": "0.2.2"}),
        (412, {"Tus-Resumable": None}),
        (415, {"Content-Type": "application/octet-stream"}),
        (400, {"Upload-Offset": "-1"}),
        (400, {"Upload-Offset": None}),
        (400, {"Upload-Offset": "9" * 40}),
    ],
)
def test_a_piece_that_is_not_as_the_protocol_says_is_refused(
    client: FlaskClient, make_export: MakeExport, status: int, change: dict[str, str | None]
) -> None:
    place = create(client, make_export())
    head = {k: v for k, v in (PIECE | {"Upload-Offset": "0"} | change).items() if v is not None}
    answer = client.patch(place, data=b"PK", headers=head)
    assert answer.status_code == status
    assert answer.get_json()["error"]
    assert offset(client, place) == 0


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (400, {"Upload-Length": None}),
        (400, {"Upload-Length": "ten"}),
        (400, {"Upload-Length": "0"}),
        (413, {"Upload-Length": "1001"}),
        (413, {"Upload-Length": str(2**63 - 1)}),
        (400, {"Upload-Metadata": None}),
        (400, {"Upload-Metadata": "filename"}),
        (400, {"Upload-Metadata": "filename !!!"}),
        (400, {"Upload-Metadata": "filename " + base64.b64encode(b"\xff.zip").decode()}),
        (400, {"Upload-Metadata": metadata("notes.txt")}),
        (400, {"Upload-Metadata": metadata("a\nb.zip")}),
        (400, {"Upload-Metadata": metadata(".zip")}),
        (412, {"Tus-Resumable": None}),
    ],
)
def test_an_upload_that_cannot_become_a_job_is_refused_before_a_byte_is_sent(
    make_app: Callable[[Settings], Flask],
    settings: Settings,
    status: int,
    change: dict[str, str | None],
) -> None:
    small = replace(settings, limits=replace(settings.limits, archive_bytes=1000))
    client = make_app(small).test_client()
    head = TUS | {"Upload-Length": "1000", "Upload-Metadata": metadata("264.zip")} | change
    answer = client.post("/api/uploads", headers={k: v for k, v in head.items() if v is not None})
    assert answer.status_code == status
    assert 0 < len(answer.get_json()["error"]) <= 400
    assert list((settings.data_dir / "uploads").glob("*.part")) == []


def test_more_than_the_disk_holds_is_refused_before_a_byte_is_sent(client: FlaskClient) -> None:
    head = TUS | {"Upload-Length": str(60 * 2**30), "Upload-Metadata": metadata("264.zip")}
    free = os.statvfs("/").f_bavail * os.statvfs("/").f_frsize
    if free > 60 * 2**30:
        pytest.skip("this disk would hold the largest archive that is taken")
    answer = client.post("/api/uploads", headers=head)
    assert answer.status_code == 507
    assert "make room" in answer.get_json()["error"]


def test_an_upload_that_was_given_up_is_gone_with_its_bytes(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    data = make_export()
    place = create(client, data)
    patch(client, place, 0, data[:100])
    assert client.delete(place, headers=TUS).status_code == 204
    assert client.head(place, headers=TUS).status_code == 404
    assert patch(client, place, 100, data[100:]).status_code == 404
    assert list((settings.data_dir / "uploads").iterdir()) == []


def test_a_client_that_can_only_post_says_which_method_it_means(
    client: FlaskClient, make_export: MakeExport
) -> None:
    data = make_export()
    place = create(client, data)
    head = PIECE | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert client.post(place, data=data, headers=head).headers["Upload-Job"] == "264"
    assert client.post("/api/jobs", headers={"X-HTTP-Method-Override": "PATCH"}).status_code == 400


@pytest.mark.parametrize(
    "hostile",
    ["..%2f..%2frelay.db", "../relay.db", "%00", "a" * 5000, "0" * 32, "0" * 31 + "G", "turn-00"],
)
def test_an_id_that_we_did_not_give_out_leads_nowhere(
    client: FlaskClient, settings: Settings, tmp_path: Path, hostile: str
) -> None:
    before = set(tmp_path.rglob("*"))
    for answer in (
        client.get(f"/api/uploads/{hostile}"),
        patch(client, f"/api/uploads/{hostile}", 0, b"PK"),
        client.delete(f"/api/uploads/{hostile}", headers=TUS),
    ):
        assert answer.status_code in (404, 405)
        assert len(answer.get_json()["error"]) <= 400
    assert set(tmp_path.rglob("*")) == before


def test_with_a_key_strangers_can_do_nothing(guarded: FlaskClient) -> None:
    assert guarded.post("/api/uploads", headers=TUS).status_code == 401
    assert guarded.get(f"/api/uploads/{'0' * 32}").status_code == 401
    assert patch(guarded, f"/api/uploads/{'0' * 32}", 0, b"").status_code == 401
    bearer = {"Authorization": f"Bearer {KEY_TEXT}"}
    assert guarded.get(f"/api/uploads/{'0' * 32}", headers=bearer).status_code == 404


# -- what comes of it ----------------------------------------------------------------------------


def test_what_is_no_archive_says_so_at_every_question_and_keeps_no_bytes(
    client: FlaskClient, settings: Settings
) -> None:
    place = create(client, b"no archive at all")
    last = patch(client, place, 0, b"no archive at all")
    assert last.status_code == 400
    assert "no export" in last.get_json()["error"]
    seen = client.get(place).get_json()
    assert (seen["job"], seen["error"]) == ("", last.get_json()["error"])
    assert patch(client, place, 17, b"").get_json() == last.get_json()
    assert client.get("/api/jobs").get_json()["total"] == 0
    assert list((settings.data_dir / "uploads").glob("*.part")) == []


def test_an_export_that_cannot_be_tracked_becomes_a_failed_job(
    client: FlaskClient, make_export: MakeExport
) -> None:
    data = make_export(())
    place = create(client, data)
    assert patch(client, place, 0, data).headers["Upload-Job"] == "264"
    assert client.get("/api/jobs/264").get_json()["job"]["state"] == "failed"


def test_the_end_may_be_said_again_and_makes_no_second_revision(
    client: FlaskClient, make_export: MakeExport
) -> None:
    data = make_export()
    place = create(client, data)
    patch(client, place, 0, data)
    for _ in range(2):
        assert patch(client, place, len(data), b"").headers["Upload-Job"] == "264"
        assert client.head(place, headers=TUS).headers["Upload-Job"] == "264"
    detail = client.get("/api/jobs/264").get_json()
    assert len(detail["revisions"]) == 1
    assert len(detail["log"]) == 1


def test_two_uploads_of_one_name_are_two_whole_revisions_in_the_order_in_which_they_end(
    client: FlaskClient, make_export: MakeExport, settings: Settings
) -> None:
    one, two = make_export(), make_export((0, 2, 5))
    first, second = create(client, one), create(client, two)
    for at in range(0, 400, 100):
        patch(client, first, at, one[at : at + 100])
        patch(client, second, at, two[at : at + 100])
    patch(client, second, 400, two[400:])
    patch(client, first, 400, one[400:])
    assert export_of(settings.data_dir, "264", 1) == two
    assert export_of(settings.data_dir, "264", 2) == one
