"""Promise: a token may do what its role says and nothing else, and nothing once it is revoked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from config import Settings
from jobs.tokens import Tokens
from jobs.views import Role
from tests.web.kit import KEY_TEXT, MakeExport, export_bytes, upload
from tests.web.test_serving import MODES, NO_BROKER, running
from web.context import KEY
from web.roles import NEEDED, SAFE_METHODS

OPEN = {"pages.sign_in"}  # whoever wants to come in cannot be asked for a role


@pytest.fixture
def keyed(settings: Settings, make_app: Callable[[Settings], Flask]) -> Flask:
    return make_app(replace(settings, agent_key=KEY_TEXT))


def tokens_of(app: Flask) -> Tokens:
    return app.extensions[KEY].jobs.tokens


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def changes(app: Flask) -> list[tuple[str, str, str]]:
    """Every method and address that changes something, with its endpoint."""
    found = []
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - SAFE_METHODS:
            if rule.endpoint not in OPEN:
                found.append((method, _address(rule), rule.endpoint))
    return found


def _address(rule: Rule) -> str:
    built = rule.build(dict.fromkeys(rule.arguments, "none"))
    assert built is not None
    return built[1]


def test_every_address_asks_for_its_role_and_says_which(keyed: Flask) -> None:
    tokens = {role: tokens_of(keyed).add(str(role), role) for role in Role}
    client, seen = keyed.test_client(), set()
    for method, path, endpoint in changes(keyed):
        seen.add(endpoint)
        least = NEEDED.get(endpoint, Role.ADMIN)
        for role, token in tokens.items():
            answer = client.open(path, method=method, headers=bearer(token))
            refused = answer.status_code == 403
            assert refused is not role.allows(least), (method, path, role, answer.status_code)
            if refused:
                assert f"the role {least}" in answer.text
                assert f"the role {role}" in answer.text
    assert {"api.delete_job", "api.upload", "pages.sign_out"} <= seen
    assert set(NEEDED) <= seen  # nothing listed is gone


def test_what_nobody_listed_needs_an_admin(keyed: Flask) -> None:
    keyed.add_url_rule("/api/new", "new", lambda: "done", methods=["GET", "POST"])
    client = keyed.test_client()
    for role in Role:
        token = tokens_of(keyed).add(str(role), role)
        assert client.get("/api/new", headers=bearer(token)).status_code == 200
        expected = 200 if role is Role.ADMIN else 403
        assert client.post("/api/new", headers=bearer(token)).status_code == expected


def test_what_each_role_may_do_to_a_job(keyed: Flask, make_export: MakeExport) -> None:
    viewer, annotator, admin = (bearer(tokens_of(keyed).add(str(r), r)) for r in Role)
    client = keyed.test_client()
    send = {"query_string": {"name": "264.zip"}, "data": make_export()}
    assert client.post("/api/jobs", headers=viewer, **send).status_code == 403
    assert client.post("/api/jobs", headers=annotator, **send).status_code == 201
    for path in ("/", "/jobs/264", "/api/jobs/264", "/api/board", "/api/status", "/metrics"):
        assert client.get(path, headers=viewer).status_code == 200
    assert client.post("/api/jobs/264/plan", headers=viewer).status_code == 200
    assert client.post("/jobs/264/plan", headers=viewer).status_code == 200
    assert client.post("/api/jobs/264/runs", headers=viewer).status_code == 403
    assert client.post("/api/jobs/264/runs", headers=annotator).status_code == 201
    assert client.post("/api/jobs/264/cancel", headers=annotator).status_code == 200
    assert client.post("/api/jobs/264/retry", headers=annotator).status_code == 201
    assert client.delete("/api/jobs/264", headers=annotator).status_code == 403
    assert client.delete("/api/jobs/264", headers=admin).status_code == 204
    key = bearer(KEY_TEXT)
    assert client.post("/api/jobs", headers=key, **send).status_code == 201
    assert client.delete("/api/jobs/264", headers=key).status_code == 204

    said = [(a.actor, a.action) for a in keyed.extensions[KEY].jobs.audit(100)]
    assert [line for line in said if line[1] != "token add"] == [
        ("annotator", "upload"),
        ("annotator", "start"),
        ("annotator", "cancel"),
        ("annotator", "retry"),
        ("admin", "delete"),
        ("key", "upload"),
        ("key", "delete"),
    ]


def test_a_page_offers_what_its_reader_may_do_and_nothing_else(
    keyed: Flask, make_export: MakeExport
) -> None:
    client = keyed.test_client()
    send = {"query_string": {"name": "264.zip"}, "data": make_export()}
    offers = {
        Role.VIEWER: set[str](),
        Role.ANNOTATOR: {'id="choose"', 'data-action="start"'},
        Role.ADMIN: {'id="choose"', 'data-action="start"', 'data-action="delete"'},
    }
    assert client.post("/api/jobs", headers=bearer(KEY_TEXT), **send).status_code == 201
    for role, offered in offers.items():
        page = client.get("/", headers=bearer(tokens_of(keyed).add(str(role), role))).text
        assert {mark for mark in offers[Role.ADMIN] if mark in page} == offered


def test_a_revoked_token_ends_at_once_with_its_sessions(keyed: Flask) -> None:
    token, person = tokens_of(keyed).add("anna", Role.ADMIN), keyed.test_client()
    assert person.post("/sign-in", data={"key": token}).status_code == 303
    program = keyed.test_client()
    assert person.get("/api/jobs").status_code == 200
    assert program.get("/api/jobs", headers=bearer(token)).status_code == 200

    tokens_of(keyed).revoke("anna")
    assert person.get("/api/jobs").status_code == 401
    assert program.get("/api/jobs", headers=bearer(token)).status_code == 401
    tokens_of(keyed).add("anna", Role.ADMIN)  # another one of the same name
    assert person.get("/api/jobs").status_code == 401


def test_a_session_has_the_role_of_its_token_as_it_is_now(keyed: Flask) -> None:
    person = keyed.test_client()
    person.post("/sign-in", data={"key": tokens_of(keyed).add("anna", Role.VIEWER)})
    own = {"Origin": "http://localhost"}
    answer = person.delete("/api/jobs/264", headers=own)
    assert answer.status_code == 403
    assert "the role admin" in answer.get_json()["error"]
    assert person.get("/").status_code == 200


def test_a_token_is_a_key_where_none_is_set(app: Flask, make_export: MakeExport) -> None:
    client = app.test_client()
    upload(client, make_export())
    token = tokens_of(app).add("anna", Role.VIEWER)
    assert client.get("/api/jobs").status_code == 401
    assert client.delete("/api/jobs/264").status_code == 401
    assert client.get("/").status_code == 302
    anywhere = {**bearer(token), "Host": "relay.example.org"}
    assert client.get("/api/jobs", headers=anywhere).status_code == 200
    assert client.get("/api/jobs", headers=bearer("")).status_code == 401
    tokens_of(app).revoke("anna")
    assert client.get("/api/jobs").status_code == 401, "revoking the last one opens no door"
    said = [(a.actor, a.action) for a in app.extensions[KEY].jobs.audit(100)]
    assert said[0] == ("local", "upload")


def test_a_server_that_lost_its_database_does_not_open(
    app: Flask, settings: Settings, make_app: Callable[[Settings], Flask]
) -> None:
    tokens_of(app).add("anna", Role.VIEWER)
    client = app.test_client()
    assert client.get("/api/jobs").status_code == 401
    with closing(sqlite3.connect(settings.data_dir / "relay.db")) as database:
        database.execute("ALTER TABLE tokens RENAME TO elsewhere")
    assert client.get("/api/jobs").status_code in {401, 503}
    again = make_app(settings).test_client()  # one that never saw the database whole
    assert again.get("/api/jobs").status_code in {500, 503}


@pytest.mark.parametrize("mode", MODES)
def test_who_acts_is_known_in_every_mode(mode: str, tmp_path: Path) -> None:
    data = export_bytes(tmp_path / "x.zip", (0, 5), shift=0, images=True)
    with running(mode, tmp_path, BROKER_URL=NO_BROKER, AGENT_KEY=KEY_TEXT) as server:
        from jobs.service import Jobs

        with closing(Jobs(Settings(data_dir=server.data_dir))) as jobs:
            anna = bearer(jobs.tokens.add("anna", Role.ADMIN))
            for headers in (anna, bearer(KEY_TEXT)):
                assert server.ask("POST", "/api/jobs?name=264.zip", data, headers)[0] == 201
                assert server.ask("DELETE", "/api/jobs/264", None, headers)[0] == 204
            told = [(line.actor, line.action) for line in jobs.audit(10)]
        assert told[1:] == [
            ("anna", "upload"),
            ("anna", "delete"),
            ("key", "upload"),
            ("key", "delete"),
        ]


def test_flask_never_answers_for_a_missing_address(keyed: Flask) -> None:
    """Where no address fits there is no endpoint, and nothing is asked for but to be known."""
    viewer = bearer(tokens_of(keyed).add("anna", Role.VIEWER))
    client: FlaskClient = keyed.test_client()
    assert client.post("/api/nothing", headers=viewer).status_code == 404
    assert client.put("/api/jobs", headers=viewer).status_code == 405
    assert client.post("/api/nothing").status_code == 401
