"""Promise: only who may, from where they may, and nothing of a stranger's runs in a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from jobs import room
from tests.web.kit import KEY_TEXT, MakeExport
from web.auth import own_path

BEARER = {"Authorization": f"Bearer {KEY_TEXT}"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "relay.example.org", ""])
def test_a_server_that_can_be_reached_from_elsewhere_lets_nobody_in_without_a_key(
    settings: Settings, make_app: Callable[[Settings], Flask], host: str
) -> None:
    client = make_app(replace(settings, host=host)).test_client()
    assert client.get("/api/jobs").status_code == 401
    assert client.post("/sign-in", data={"key": ""}).status_code == 401


def test_so_does_one_behind_a_proxy(
    settings: Settings, make_app: Callable[[Settings], Flask]
) -> None:
    client = make_app(replace(settings, trusted_proxies=1)).test_client()
    assert client.get("/api/jobs").status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "", "[::2]"],
)
def test_without_a_key_a_foreign_host_name_is_refused(client: FlaskClient, host: str) -> None:
    answer = client.get("/api/jobs", headers={"Host": host})
    assert answer.status_code == 403
    assert "AGENT_KEY" in answer.get_json()["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:80", "[::1]:5000"])
def test_without_a_key_this_machine_may_do_everything(client: FlaskClient, host: str) -> None:
    assert client.get("/api/jobs", headers={"Host": host}).status_code == 200
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://["},
    ],
)
def test_a_page_of_another_origin_may_change_nothing(
    client: FlaskClient, make_export: MakeExport, headers: dict[str, str]
) -> None:
    for method, path in (("POST", "/api/jobs?name=264.zip"), ("DELETE", "/api/jobs/264")):
        answer = client.open(path, method=method, data=make_export(), headers=headers)
        assert answer.status_code == 403
    assert client.get("/api/jobs").get_json()["total"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_our_own_page_and_programs_may(
    client: FlaskClient, make_export: MakeExport, headers: dict[str, str]
) -> None:
    answer = client.post("/api/jobs?name=264.zip", data=make_export(), headers=headers)
    assert answer.status_code == 201


def test_with_a_key_nothing_is_told_to_strangers(guarded: FlaskClient) -> None:
    for path in ("/api/jobs", "/api/board", "/api/workers", "/api/status", "/api/openapi.json"):
        answer = guarded.get(path)
        assert answer.status_code == 401
        assert list(answer.get_json()) == ["error"]
        assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert guarded.post("/jobs/264/plan").status_code == 401
    page = guarded.get("/jobs/264?x=1")
    assert page.status_code == 302
    assert page.headers["Location"] == "/sign-in?next=/jobs/264?x%3D1"


def test_probes_need_no_key(guarded: FlaskClient) -> None:
    assert guarded.get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200
    assert guarded.get("/readyz", headers={"Host": "10.0.0.7"}).status_code == 200


def test_programs_send_the_key_and_use_any_host_name(guarded: FlaskClient) -> None:
    answer = guarded.get("/api/jobs", headers={**BEARER, "Host": "relay.example.org"})
    assert answer.status_code == 200


@pytest.mark.parametrize("key", ["", "wrong", KEY_TEXT[:-1], KEY_TEXT + "x", "ü\udcff", "a" * 1000])
def test_a_wrong_key_is_no_key(guarded: FlaskClient, key: str) -> None:
    sign_in = guarded.post("/sign-in", data={"key": key.encode("utf-8", "surrogateescape")})
    assert sign_in.status_code == 401
    assert guarded.get("/api/jobs").status_code == 401


def test_people_sign_in_once_and_out_again(guarded: FlaskClient) -> None:
    answer = guarded.post("/sign-in", data={"key": KEY_TEXT, "next": "/jobs/264"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/jobs/264"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert KEY_TEXT not in cookie
    assert guarded.get("/api/jobs").status_code == 200

    guarded.post("/sign-out", headers={"Origin": "http://localhost"})
    assert guarded.get("/api/jobs").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "https://evil.example", "X-Requested-With": "x"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "X-Requested-With": "x"}, 403),
        ({"Origin": "http://localhost"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"X-Requested-With": "a program of mine"}, 201),
    ],
)
def test_a_session_changes_nothing_for_a_request_that_does_not_say_where_it_comes_from(
    guarded: FlaskClient, make_export: MakeExport, headers: dict[str, str], status: int
) -> None:
    guarded.post("/sign-in", data={"key": KEY_TEXT})
    answer = guarded.post("/api/jobs?name=264.zip", data=make_export(), headers=headers)
    assert answer.status_code == status
    total = 1 if status == 201 else 0
    assert guarded.get("/api/jobs").get_json()["total"] == total


def test_a_program_with_a_key_says_nothing_of_that(
    guarded: FlaskClient, make_export: MakeExport
) -> None:
    answer = guarded.post("/api/jobs?name=264.zip", data=make_export(), headers=BEARER)
    assert answer.status_code == 201


def test_a_page_without_tls_is_foreign_to_a_server_with_it(
    settings: Settings, make_app: Callable[[Settings], Flask], make_export: MakeExport
) -> None:
    client = make_app(replace(settings, agent_key=KEY_TEXT)).test_client()
    for origin, status in (("http://relay.example", 403), ("https://relay.example", 201)):
        answer = client.post(
            "/api/jobs?name=264.zip", base_url="https://relay.example",
            data=make_export(), headers={**BEARER, "Origin": origin},
        )  # fmt: skip
        assert answer.status_code == status


def test_a_new_key_signs_everybody_out(
    settings: Settings, make_app: Callable[[Settings], Flask], guarded: FlaskClient
) -> None:
    guarded.post("/sign-in", data={"key": KEY_TEXT})
    cookie = guarded.get_cookie("mask_relay_session")
    assert cookie is not None
    other = make_app(replace(settings, agent_key="another secret of good length")).test_client()
    other.set_cookie("mask_relay_session", cookie.value)
    assert other.get("/api/jobs").status_code == 401


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "x", ""],
)
def test_signing_in_never_leads_to_another_server(target: str) -> None:
    assert own_path(target) == "/"


def test_answers_carry_the_headers_that_keep_pages_to_themselves(client: FlaskClient) -> None:
    for path in ("/", "/api/jobs", "/static/favicon.svg", "/nothing"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
    assert client.get("/api/jobs").headers["Cache-Control"] == "no-store"


def test_pages_hold_no_inline_script_or_style(client: FlaskClient, make_export: MakeExport) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    for path in ("/", "/jobs/264", "/sign-in", "/nothing"):
        page = client.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)


def test_what_a_stranger_wrote_is_shown_as_text(
    client: FlaskClient, make_export: MakeExport
) -> None:
    name = "<img src=x onerror=alert(1)>\"'.zip"
    answer = client.post("/api/jobs", query_string={"name": name}, data=make_export())
    path = answer.headers["Location"].replace("/api", "")
    pages = (client.get("/"), client.get(path), client.get("/?search=<img src=x>"))
    for page in (*pages, client.get("/jobs/<img src=x>")):
        assert "<img src=x" not in page.text


def test_a_proxy_before_a_server_without_a_key_is_no_user_of_this_machine(
    client: FlaskClient,
) -> None:
    answer = client.get("/api/jobs", headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 403
    assert "TRUSTED_PROXIES" in answer.get_json()["error"]


def test_prometheus_without_a_key_is_told_so(guarded: FlaskClient) -> None:
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/metrics", headers=BEARER).status_code == 200


def test_strangers_learn_which_part_is_down_and_not_what_it_is_called(
    guarded: FlaskClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "trouble", lambda *_, **__: f"DATA_DIR {settings.data_dir} is gone")
    assert guarded.get("/readyz").get_json()["reason"].startswith("disk")
    assert str(settings.data_dir) not in guarded.get("/readyz").text
