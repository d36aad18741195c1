"""Promise: the frame-by-frame page offers what a person may do, and says why there is nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from jobs.views import Role
from tests.web.kit import MakeExport
from web.context import KEY


def test_an_export_without_images_says_what_to_do(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export(images=False))
    page = client.get("/jobs/264/panel").text
    assert re.search(r'class="no-images">[^<]*Save images', page)
    assert "js/panel.js" not in page
    client.post("/api/jobs?name=264.zip", data=make_export())
    page = client.get("/jobs/264/panel").text
    assert "Save images" not in page
    assert "js/panel.js" in page


def test_images_of_an_earlier_export_will_do(client: FlaskClient, make_export: MakeExport) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    client.post("/api/jobs?name=264.zip", data=make_export(shift=1, images=False))
    assert "js/panel.js" in client.get("/jobs/264/panel").text


def test_a_job_that_is_not_there_says_so(client: FlaskClient) -> None:
    answer = client.get("/jobs/264/panel")
    assert answer.status_code == 404
    assert "There is no job" in answer.text


def test_who_may_only_look_is_offered_no_tools(
    settings: Settings, make_app: Callable[[Settings], Flask], make_export: MakeExport
) -> None:
    app = make_app(replace(settings, agent_key="a key of the tests"))
    client, own = app.test_client(), {"Authorization": "Bearer a key of the tests"}
    client.post("/api/jobs?name=264.zip", data=make_export(), headers=own)
    for role, offered in ((Role.VIEWER, False), (Role.ANNOTATOR, True)):
        token = app.extensions[KEY].jobs.tokens.add(role.value, role)
        page = client.get("/jobs/264/panel", headers={"Authorization": f"Bearer {token}"}).text
        assert ('id="stage"' in page, 'id="accept"' in page) == (True, offered)
        assert ('data-tool="brush"' in page, "data-edits" in page) == (offered, offered)
