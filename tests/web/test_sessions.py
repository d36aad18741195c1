"""Promise: a live session is had over HTTP as the document says, and refuses in sentences."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from config import Settings
from jobs.service import Jobs
from jobs.views import Role
from tests.web.kit import KEY_TEXT, MakeExport, upload
from tests.worker.loops import a_loop, running
from web.openapi import document

MASK = {"object": 1, "box": [2, 2, 4, 4], "runs": "0,16"}
S = "/api/jobs/264/session"


@pytest.fixture
def session(client: FlaskClient, make_export: MakeExport) -> FlaskClient:
    upload(client, make_export())
    return client


def test_answers_are_as_the_document_says(session: FlaskClient) -> None:
    paths = document()["paths"]

    def check(method: str, path: str, template: str = "", **request: object) -> int:
        answer = session.open(S + path, method=method.upper(), **request)
        name = "/api/jobs/{job_id}/session" + (template or path)
        described = paths[name][method]["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"]
        root = {"components": document()["components"], **schema}
        resource = Resource.from_contents(root, default_specification=DRAFT202012)
        validator = Draft202012Validator(root, registry=Registry().with_resource("", resource))
        assert [error.message for error in validator.iter_errors(answer.get_json())] == []
        return answer.status_code

    assert check("get", "") == 200
    assert check("get", "/frames/0", "/frames/{frame}") == 200
    assert check("get", "/frames/99", "/frames/{frame}") == 400
    assert check("get", "/changes?since=0&client=me", "/changes") == 200
    assert check("post", "/edit", json={"frame": 1, "masks": [MASK]}) == 200
    assert check("post", "/copy", json={"frame": 2, "from": 1}) == 200
    assert check("post", "/key", json={"frame": 2, "key": False}) == 200
    assert check("post", "/range", json={"action": "delete", "from": 2, "to": 3}) == 200
    assert check("post", "/objects", json={"action": "add", "label": "car"}) == 200
    assert check("post", "/objects", json={"action": "rename", "object": 2, "name": "x"}) == 200
    assert check("post", "/undo", json={}) == 200
    assert check("post", "/redo") == 200
    assert check("post", "/engine", json={"engine": "builtin"}) == 200
    assert check("post", "/stop", json={}) == 200
    assert check("post", "/step", json={"from": 0, "to": 1}) == 409
    assert check("get", "/steps/1", "/steps/{step_id}") == 404
    assert check("post", "/accept", json={"until": None}) == 200
    assert check("post", "/reset", json={}) == 200
    assert check("get", "") == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "what"),
    [
        ("/edit", {"frame": 1}, 400, "'masks' is missing"),
        ("/edit", {"frame": True, "masks": []}, 400, "cannot be True: give a whole number"),
        ("/edit", {"frame": 1, "masks": [MASK], "key": False}, 400, "leave key out"),
        ("/edit", {"frame": 1, "masks": [7]}, 400, "a list of objects"),
        ("/edit", {"frame": 1, "masks": [{"object": 1, "mask": 3}]}, 400, "mask is null"),
        ("/edit", {"frame": 1, "masks": [{**MASK, "x": 1}]}, 400, "'x' of masks[0] is unknown"),
        ("/edit", {"frame": 1, "masks": [{**MASK, "object": 5}]}, 404, "no object 5"),
        ("/copy", {"frame": 1, "from": 1}, 400, "cannot be copied onto itself"),
        ("/range", {"action": "burn", "from": 0, "to": 1}, 400, "delete, absent, forget, accept"),
        ("/objects", {"action": "add", "label": "<b>"}, 400, 'no label "<b>"'),
        ("/objects", {"action": "merge", "objects": [1], "into": 1}, 400, "at least two"),
        ("/engine", {"engine": "magic"}, 400, "There is no engine named 'magic'"),
        ("/engine", {"segmenter": "magic"}, 400, "There is no segmenter named 'magic'"),
        ("/accept", {"until": 77}, 400, "77 is no frame of the job"),
        ("/undo", {}, 409, "nothing of yours to undo"),
        ("/step", {"from": 0, "to": 1}, 409, "No worker is running: start one with"),
        ("/step", {"from": 0, "to": 99}, 400, "99 is no frame of the job"),
        ("/step", {"from": 0, "to": 1, "stop_at": 2}, 400, "a number from 0 to 1"),
        ("/prepare", {"frame": 0}, 409, "No worker is running"),
        ("/segment", {"frame": 0}, 400, "give one of them"),
        ("/segment", {"frame": 0, "points": [[1, 1, 2]]}, 400, "1 on the object or 0 beside"),
        ("/segment", {"frame": 0, "points": [[99, 1, 1]]}, 400, "lies outside the frame of 32 x"),
        ("/segment", {"frame": 0, "box": [5, 5, 1, 9]}, 400, "x0 < x1"),
        ("/segment", {"frame": 0, "box": [-9, -9, -1, -1]}, 400, "outside the frame of 32 x"),
        ("/undo", {"version": 3}, 400, "'version' is unknown here"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    session: FlaskClient, path: str, body: dict, status: int, what: str
) -> None:
    session.get(S)
    answer = session.post(S + path, json=body)
    assert answer.status_code == status
    assert what in answer.get_json()["error"]


def test_who_waits_for_changes_is_told_at_once_and_others_see_that_they_are_there(
    session: FlaskClient,
) -> None:
    version = session.get(S).get_json()["version"]
    assert session.get(f"{S}/changes?since={version}&client=one").get_json()["frames"] == ""
    session.post(f"{S}/edit", json={"frame": 3, "masks": [MASK]})
    found = session.get(f"{S}/changes?since={version}&wait=20&client=two").get_json()
    assert (found["frames"], found["people"]) == ("3", ["local"]), "the page itself is not told"
    assert found["version"] == version + 1


def test_viewers_look_and_only_annotators_change(
    settings: Settings, make_app: Callable[[Settings], Flask], make_export: MakeExport
) -> None:
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    client = app.test_client()
    own = {"Authorization": f"Bearer {KEY_TEXT}"}
    client.post("/api/jobs?name=264.zip", data=make_export(), headers=own)
    jobs: Jobs = app.extensions["mask-relay"].jobs
    keys = {role: jobs.tokens.add(f"a-{role}", role) for role in Role}
    for role, status in ((Role.VIEWER, 403), (Role.ANNOTATOR, 200)):
        headers = {"Authorization": f"Bearer {keys[role]}"}
        assert client.get(S, headers=headers).status_code == 200
        body = {"frame": 1, "masks": [MASK]}
        assert client.post(f"{S}/edit", json=body, headers=headers).status_code == status


def test_steps_and_clicks_are_answered_over_http(
    session: FlaskClient, app: Flask, settings: Settings
) -> None:
    database = app.extensions["mask-relay"].jobs.database
    with running(a_loop(settings, database)):
        session.get(S)
        wait_until(lambda: session.get("/api/workers").get_json()["workers"])
        answer = session.post(f"{S}/step", json={"from": 0, "to": 1, "wait": True}).get_json()
        assert answer["frame"]["frame"] == 1
        assert answer["frame"]["origin"] == "computed"
        assert answer["seconds"]["total"] >= answer["seconds"]["model"]
        found = session.get(f"{S}/steps/{answer['id']}").get_json()
        assert (found["state"], found["error"]) == ("done", "")
        asked = {"frame": 1, "object": 1, "points": [[8, 8, 1]], "box": [3, 3, 15, 13]}
        clicked = session.post(f"{S}/segment", json=asked).get_json()
        assert set(clicked) == {"mask", "score"}
        assert session.post(f"{S}/stop", json={}).get_json() == {"stopped": 0}
        far = session.post(f"{S}/step", json={"from": 1, "to": 5}).get_json()
        assert (far["frame"], far["seconds"]) == (None, None)


def wait_until(there: Callable[[], object]) -> None:
    until = time.monotonic() + 120
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)
