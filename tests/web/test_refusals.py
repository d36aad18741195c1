"""Promise: strangers write nothing, unfit texts are refused, an absent database is said so."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from tests.web.kit import KEY_TEXT, MakeExport, upload
from web.auth import SIGN_IN_BYTES, own_path
from web.context import KEY

HOSTILE = ["1\ud800", "1\x00", "1\n2", "\x1b[2J", "\x7f"]


class Body(io.BytesIO):
    """A request's body that counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data

    def readinto(self, buffer: bytearray) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def send(client: FlaskClient, path: str, kind: str, body: Body, length: int | None) -> int:
    """Post a body, with its length or chunked, and return the status."""
    framing = (
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
        if length is None
        else {"CONTENT_LENGTH": str(length)}
    )
    return client.post(
        path, content_type=kind, environ_overrides={"wsgi.input": body, **framing}
    ).status_code


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sign-in", 415),
        ("/sign-out", 401),
        ("/api/jobs?name=264.zip", 401),
        ("/api/jobs/264/runs", 401),
        ("/jobs/264/plan", 401),
        ("/nothing", 401),
    ],
)
def test_no_body_of_a_stranger_is_read(
    guarded: FlaskClient, settings: Settings, path: str, status: int, is_chunked: bool
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    for kind in ("multipart/form-data; boundary=x", "application/octet-stream"):
        body = Body(head + bytes(1 << 20))
        length = None if is_chunked else len(body.getvalue())
        answered = send(guarded, path, kind, body, length)
        if "multipart" in kind or path != "/sign-in":
            assert answered == status
            assert body.taken == 0
    assert not list((settings.data_dir / "incoming").glob("*"))


@pytest.mark.parametrize("is_chunked", [False, True])
def test_signing_in_reads_no_more_than_a_key_needs(guarded: FlaskClient, is_chunked: bool) -> None:
    body = Body(b"key=" + b"a" * (1 << 20))
    length = None if is_chunked else len(body.getvalue())

    status = send(guarded, "/sign-in", "application/x-www-form-urlencoded", body, length)

    assert status == (401 if is_chunked else 413)  # the end of a chunked body is not waited for
    assert body.taken <= SIGN_IN_BYTES


def test_signing_in_with_a_form_of_files_is_refused_without_a_key_too(client: FlaskClient) -> None:
    answer = client.post("/sign-in", data={"file": (io.BytesIO(b"x"), "x.zip")})
    assert answer.status_code == 415


def test_a_key_within_the_limit_still_signs_in(guarded: FlaskClient) -> None:
    assert guarded.post("/sign-in", data={"key": KEY_TEXT}).status_code == 303


@pytest.mark.parametrize("name", ["frames", "engine"])
@pytest.mark.parametrize("text", [*HOSTILE, "1" * 2001])
def test_a_text_option_that_no_line_can_show_is_refused(
    client: FlaskClient, make_export: MakeExport, name: str, text: str
) -> None:
    upload(client, make_export())
    answer = client.post("/api/jobs/264/runs", json={name: text})

    assert answer.status_code == 400
    assert name in answer.get_json()["error"]
    assert client.get("/api/jobs/264").get_json()["runs"] == []
    assert client.post("/jobs/264/plan", json={name: text}).status_code == 200


def test_the_name_of_an_engine_and_the_number_of_spans_have_bounds(
    client: FlaskClient, make_export: MakeExport
) -> None:
    upload(client, make_export())
    for options in ({"engine": "e" * 81}, {"parallel_spans": 10_001}, {"parallel_spans": 10**30}):
        answer = client.post("/api/jobs/264/runs", json=options)
        assert answer.status_code == 400
        assert next(iter(options)) in answer.get_json()["error"]
    assert client.post("/api/jobs/264/plan", json={"parallel_spans": 10_000}).status_code == 200


def test_brackets_without_end_are_no_options(client: FlaskClient, make_export: MakeExport) -> None:
    upload(client, make_export())
    deep = client.post("/api/jobs/264/runs", data="[" * 60_000, content_type="application/json")
    assert deep.status_code == 400


def ask_with_unfit_texts(client: FlaskClient, export: bytes) -> None:
    upload(client, export)
    for unfit in ("%00", "264%00", "%ed%a0%80", "%0a", "%ff"):
        for method, path in (
            ("GET", f"/api/jobs/{unfit}"),
            ("DELETE", f"/api/jobs/{unfit}"),
            ("POST", f"/api/jobs/{unfit}/runs"),
            ("POST", f"/api/jobs/{unfit}/cancel"),
            ("GET", f"/api/jobs/{unfit}/result.zip"),
            ("GET", f"/jobs/{unfit}"),
        ):
            assert client.open(path, method=method).status_code == 404, (method, path)
        for path in ("/api/jobs", "/api/board", "/"):
            assert client.get(f"{path}?search={unfit}").status_code in (200, 400), path
        answer = client.post(f"/api/jobs?name={unfit}.zip", data=export)
        assert answer.status_code in (201, 400)
    assert client.get("/api/jobs?search=%00").status_code == 400
    assert client.post("/api/jobs?name=a%00b.zip", data=export).status_code == 400
    name = "a\ud800.zip".encode("utf-8", "surrogatepass").decode("latin-1")
    form = {"file": (io.BytesIO(export), name)}
    assert client.post("/api/jobs", data=form).status_code in (201, 400)


def test_unfit_ids_searches_and_names_are_refused_in_a_sentence(
    client: FlaskClient, make_export: MakeExport
) -> None:
    ask_with_unfit_texts(client, make_export())


def test_unfit_texts_are_refused_before_postgresql_sees_them(
    settings: Settings,
    make_app: Callable[[Settings], Flask],
    make_export: MakeExport,
    postgres_url: str,
) -> None:
    app = make_app(replace(settings, database_url=postgres_url))
    ask_with_unfit_texts(app.test_client(), make_export())


def test_addresses_that_cannot_be_read_are_no_fault_of_ours(client: FlaskClient) -> None:
    assert client.post("/api/jobs?name=a.zip", headers={"Origin": "http://["}).status_code == 403
    assert client.get("/api/jobs", headers={"Host": "["}).status_code == 403
    assert client.get("/sign-in?next=//[").status_code == 200
    answer = client.post("/sign-in", data={"next": "//["})
    assert answer.headers["Location"] == "/"
    assert own_path("/a\r\nb") == "/"


def test_an_absent_database_is_said_in_one_sentence_and_the_status_still_answers(
    app: Flask, client: FlaskClient, settings: Settings, make_export: MakeExport
) -> None:
    upload(client, make_export())
    app.extensions[KEY].jobs.close()  # its open connections would still find the file
    file = settings.data_dir / "relay.db"
    file.rename(settings.data_dir / "away.db")
    file.mkdir()

    for method, path in (
        ("GET", "/api/jobs"),
        ("GET", "/api/workers"),
        ("POST", "/api/jobs/264/runs"),
        ("DELETE", "/api/jobs/264"),
    ):
        answer = client.open(path, method=method)
        assert answer.status_code == 503
        assert list(answer.get_json()) == ["error"]
        assert "The database cannot be reached" in answer.get_json()["error"]
        assert "SELECT" not in answer.text
    page = client.get("/")
    assert page.status_code == 503
    assert "The database cannot be reached" in page.text
    status = client.get("/api/status")
    assert (status.status_code, status.get_json()["ready"]) == (200, False)
    assert client.get("/readyz").status_code == 503

    file.rmdir()
    (settings.data_dir / "away.db").rename(file)
    assert client.get("/api/jobs").status_code == 200
