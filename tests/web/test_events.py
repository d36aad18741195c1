"""Promise: browsers hear of changes soon, and only those hear who may read, what they asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask_socketio import SocketIOTestClient

from config import Settings
from jobs.views import Role
from tests.web.kit import KEY_TEXT, MakeExport, upload
from web.context import KEY
from web.events import MOST_ROOMS, Watch

MakeApp = Callable[[Settings], Flask]


def listening(app: Flask, *wanted: object, **how: object) -> SocketIOTestClient:
    """Connect, and ask to hear of what is wanted."""
    listener = app.extensions["socketio"].test_client(app, **how)
    for one in wanted:
        assert listener.emit("watch", one, callback=True) == {}
    return listener


def heard(listener: SocketIOTestClient) -> list[tuple[str, object]]:
    return [(event["name"], event["args"][0]) for event in listener.get_received()]


def watching(app: Flask) -> Watch:
    """A watch that has looked once, and looks again only when told to."""
    watch = Watch(app.extensions["socketio"], app.extensions[KEY])
    watch.start()
    watch.stop()
    return watch


def test_a_change_is_told_once_and_old_ones_never(app: Flask, make_export: MakeExport) -> None:
    client = app.test_client()
    client.post("/api/jobs?name=old.zip", data=make_export())
    watch = watching(app)
    listener = listening(app, {})
    watch.look()
    assert heard(listener) == []

    client.post("/api/jobs?name=264.zip", data=make_export())
    watch.look()
    assert heard(listener) == [("job", {"id": "264"})]
    watch.look()
    assert heard(listener) == []

    client.delete("/api/jobs/264")
    watch.look()
    assert heard(listener) == [("job", {"id": "264"})]


def test_everybody_hears_of_the_jobs_they_asked_for_and_of_workers(
    app: Flask, make_export: MakeExport
) -> None:
    client, watch = app.test_client(), watching(app)
    silent, board = listening(app), listening(app, {})
    one, two = listening(app, {"job": "264"}), listening(app, {"job": "264"}, {"job": "265"})
    both = listening(app, {}, {"job": "264"})
    for name in ("264.zip", "265.zip", "266.zip"):
        upload(client, make_export(), name)
    watch.look()
    events = [("job", {"id": name}) for name in ("264", "265", "266")]
    assert heard(silent) == []
    assert heard(board) == events
    assert heard(both) == events  # each of them once
    assert heard(one) == events[:1]
    assert heard(two) == events[:2]


def test_a_connection_that_comes_back_asks_again(app: Flask, make_export: MakeExport) -> None:
    client, watch = app.test_client(), watching(app)
    listener = listening(app, {})
    listener.disconnect()
    listener.connect()
    upload(client, make_export(), "264.zip")
    watch.look()
    assert heard(listener) == []
    assert listener.emit("watch", {}, callback=True) == {}
    client.delete("/api/jobs/264")
    watch.look()
    assert heard(listener) == [("job", {"id": "264"})]


def test_one_connection_follows_only_so_many_jobs(app: Flask) -> None:
    wanted = [{"job": str(number)} for number in range(MOST_ROOMS)]
    listener = listening(app, *wanted)
    answer = listener.emit("watch", {"job": "one more"}, callback=True)
    assert str(MOST_ROOMS) in answer["error"]
    assert listener.emit("watch", wanted[0], callback=True) == {}  # it is in there already
    assert listener.emit("watch", {}, callback=True) == {}  # the board is always to be had


@pytest.mark.parametrize(
    "wanted", [{"job": 264}, {"job": ["264"]}, {"job": "x" * 81}, {"job": "\0"}]
)
def test_what_is_no_job_cannot_be_followed(app: Flask, wanted: dict) -> None:
    answer = listening(app).emit("watch", wanted, callback=True)
    assert list(answer) == ["error"]


def test_with_a_key_a_stranger_hears_nothing(
    settings: Settings, make_app: Callable[[Settings], Flask]
) -> None:
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    socketio = app.extensions["socketio"]
    assert not socketio.test_client(app).is_connected()
    assert not socketio.test_client(app, auth={"key": "wrong"}).is_connected()
    assert not socketio.test_client(app, auth=["key"]).is_connected()
    assert socketio.test_client(app, auth={"key": KEY_TEXT}).is_connected()
    bearer = {"Authorization": f"Bearer {KEY_TEXT}"}
    assert socketio.test_client(app, headers=bearer).is_connected()

    person = app.test_client()
    person.post("/sign-in", data={"key": KEY_TEXT})
    assert socketio.test_client(app, flask_test_client=person).is_connected()


@pytest.mark.parametrize("way", ["auth", "bearer", "session"])
@pytest.mark.parametrize("role", list(Role))
def test_whoever_has_a_token_hears_until_it_is_revoked(
    settings: Settings, make_app: MakeApp, make_export: MakeExport, way: str, role: Role
) -> None:
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    tokens = app.extensions[KEY].jobs.tokens
    token = tokens.add("anna", role)
    person = app.test_client()
    how = {
        "auth": {"auth": {"key": token}},
        "bearer": {"headers": {"Authorization": f"Bearer {token}"}},
        "session": {"flask_test_client": person},
    }[way]
    person.post("/sign-in", data={"key": token})
    watch = watching(app)
    listener, other = listening(app, {}, **how), listening(app, {}, auth={"key": KEY_TEXT})

    tokens.revoke("anna")
    key = {"Authorization": f"Bearer {KEY_TEXT}"}
    app.test_client().post("/api/jobs?name=264.zip", data=make_export(), headers=key)
    watch.look()
    assert not listener.is_connected()  # also what was open before
    assert listener.queue == []
    assert heard(other) == [("job", {"id": "264"})]
    assert not listening(app, **how).is_connected()


def test_the_first_token_closes_what_was_open_without_a_key(app: Flask) -> None:
    watch, listener = watching(app), listening(app, {})
    watch.look()
    assert listener.is_connected()
    app.extensions[KEY].jobs.tokens.add("anna", Role.VIEWER)
    watch.look()
    assert not listener.is_connected()


def test_guessing_is_slowed_down_here_too(settings: Settings, make_app: MakeApp) -> None:
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    for number in range(10):
        assert not listening(app, auth={"key": f"guess {number}"}).is_connected()
    assert not listening(app, auth={"key": KEY_TEXT}).is_connected()
    bearer = {"Authorization": f"Bearer {KEY_TEXT}"}
    assert not listening(app, headers=bearer).is_connected()


def test_without_a_key_a_foreign_host_name_hears_nothing(app: Flask) -> None:
    socketio = app.extensions["socketio"]
    assert not socketio.test_client(app, headers={"Host": "evil.example"}).is_connected()
    assert socketio.test_client(app).is_connected()
