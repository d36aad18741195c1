"""Promise: browsers hear of changes soon, and only those hear who may read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flask import Flask

from config import Settings
from tests.web.kit import KEY_TEXT, MakeExport
from web.context import KEY
from web.events import Watch


def heard(listener) -> list[tuple[str, object]]:
    return [(event["name"], event["args"][0]) for event in listener.get_received()]


def test_a_change_is_told_once_and_old_ones_never(app: Flask, make_export: MakeExport) -> None:
    client, socketio = app.test_client(), app.extensions["socketio"]
    client.post("/api/jobs?name=old.zip", data=make_export())
    watch = Watch(socketio, app.extensions[KEY])
    watch.start()
    watch.stop()
    listener = socketio.test_client(app)
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


def test_without_a_key_a_foreign_host_name_hears_nothing(app: Flask) -> None:
    socketio = app.extensions["socketio"]
    assert not socketio.test_client(app, headers={"Host": "evil.example"}).is_connected()
    assert socketio.test_client(app).is_connected()
