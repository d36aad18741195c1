"""Promise: the studio can be used as a page and as an API, by who may, with whatever is there."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from config import Limits, Settings
from jobs.views import Role
from tests.helpers.sequences import image_bytes, make_folder, make_video, zip_of
from tests.web.kit import KEY_TEXT, MakeExport, upload
from web.context import KEY
from web.openapi import document


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data",
        downloads_path=tmp_path / "downloads",
        sequences_path=tmp_path / "sequences",
        results_path=tmp_path / "results",
        engine="flow",
    )


@pytest.fixture
def root(settings: Settings) -> Path:
    settings.sequences_path.mkdir()
    return settings.sequences_path


def settled(client: FlaskClient, name: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while (told := client.get(f"/api/sequences/{name}").get_json())["state"] == "making":
        assert time.monotonic() < until
        time.sleep(0.05)
    return told


def opened(client: FlaskClient, name: str) -> dict[str, Any]:
    assert client.post(f"/api/sequences/{name}/open").status_code in (200, 202)
    return settled(client, name)


def test_a_folder_is_listed_opened_and_then_a_job(client: FlaskClient, root: Path) -> None:
    make_folder(root / "hand", 4)
    listed = client.get("/api/sequences").get_json()
    assert listed["path"] == str(root)
    assert [(each["name"], each["state"]) for each in listed["sequences"]] == [("hand", "new")]
    told = opened(client, "hand")
    assert (told["state"], told["job"], told["frames"]) == ("ready", "_hand", 4)
    assert client.post("/api/sequences/hand/open").status_code == 200
    assert client.get("/api/jobs/_hand").get_json()["job"]["kind"] == "sequence"
    assert client.get("/api/sequences?search=foot").get_json()["sequences"] == []


def test_the_dashboard_leads_to_the_panel_before_anything_is_drawn(
    client: FlaskClient, root: Path
) -> None:
    make_folder(root / "hand", 4)
    opened(client, "hand")
    card = client.get("/").text.partition('id="job-_hand"')[2].partition("</li>\n")[0]
    assert 'href="/jobs/_hand/panel">Open in the studio' in card
    assert 'data-can="delete"' in card
    assert 'data-action="start"' not in card


def test_a_video_and_a_zip_are_uploaded(client: FlaskClient, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", 5).read_bytes()
    answer = client.post("/api/sequences?name=clip.mp4", data=video)
    assert answer.status_code in (200, 202)
    assert settled(client, "clip.mp4")["frames"] == 5
    images = zip_of({"1.png": image_bytes(1), "2.png": image_bytes(2)})
    client.post("/api/sequences?name=frames.zip", data=images)
    assert settled(client, "frames")["job"] == "_frames"


def test_an_upload_that_cannot_be_read_says_why_and_can_be_dismissed(client: FlaskClient) -> None:
    client.post("/api/sequences?name=clip.mp4", data=b"no video")
    told = settled(client, "clip.mp4")
    assert "cannot be opened as a video" in told["error"]
    assert told["error"] in client.get("/studio").text.replace("&#39;", "'")
    assert client.delete("/api/sequences/clip.mp4").status_code == 204
    assert client.get("/api/sequences").get_json()["sequences"] == []


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/sequences", 400, "name=clip.mp4"),
        ("/api/sequences?name=notes.txt", 400, "neither a video nor a zip"),
        ("/api/sequences?name=..%2Fclip.mp4", 400, "no name for a sequence"),
        ("/api/sequences?name=clip%0A.mp4", 400, "name=clip.mp4"),
        ("/api/sequences/none/open", 404, "SEQUENCES_PATH"),
        ("/api/sequences/..%2F..%2Fetc/open", 404, "/etc"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    client: FlaskClient, path: str, status: int, words: str
) -> None:
    answer = client.post(path, data=b"bytes")
    assert answer.status_code == status
    assert words in answer.get_json()["error"]


def test_a_video_larger_than_the_limit_is_413(
    settings: Settings, make_app: Callable[[Settings], Flask]
) -> None:
    client = make_app(replace(settings, limits=Limits(archive_bytes=10))).test_client()
    assert client.post("/api/sequences?name=clip.mp4", data=b"x" * 11).status_code == 413


def test_a_picture_is_small_and_none_is_no_error(client: FlaskClient, root: Path) -> None:
    make_folder(root / "hand")
    (root / "bad.mp4").write_bytes(b"nothing")
    answer = client.get("/api/sequences/hand/picture.jpg")
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    assert answer.data.startswith(b"\xff\xd8")
    assert client.get("/api/sequences/bad.mp4/picture.jpg").status_code == 204
    assert client.get("/api/sequences/none/picture.jpg").status_code == 404


def test_the_page_shows_all_and_writes_out_no_name_as_markup(
    client: FlaskClient, root: Path
) -> None:
    make_folder(root / "a & b 'c'")
    make_folder(root / "hand")
    opened(client, "hand")
    page = client.get("/studio")
    assert page.status_code == 200
    assert "a &amp; b &#39;c&#39;" in page.text
    assert 'href="/jobs/_hand/panel"' in page.text
    assert "style=" not in page.text
    assert "hand" not in client.get("/studio?search=b%20%27c").text.split("<main", 1)[1]


def test_a_folder_that_cannot_be_read_is_said_on_the_page(client: FlaskClient, root: Path) -> None:
    root.rmdir()
    root.write_text("a file")
    page = client.get("/studio")
    assert page.status_code == 200
    assert "point SEQUENCES_PATH to another folder" in page.text


def test_viewers_look_and_annotators_open(
    settings: Settings, root: Path, make_app: Callable[[Settings], Flask]
) -> None:
    make_folder(root / "hand")
    app = make_app(replace(settings, agent_key=KEY_TEXT))
    tokens = app.extensions[KEY].jobs.tokens
    keys = {role: tokens.add(role.value, role) for role in (Role.VIEWER, Role.ANNOTATOR)}

    def ask(role: Role, method: str, path: str) -> int:
        header = {"Authorization": f"Bearer {keys[role]}"}
        return app.test_client().open(path, method=method, headers=header).status_code

    assert ask(Role.VIEWER, "GET", "/api/sequences") == 200
    assert ask(Role.VIEWER, "GET", "/studio") == 200
    assert ask(Role.VIEWER, "POST", "/api/sequences/hand/open") == 403
    assert ask(Role.VIEWER, "POST", "/api/sequences?name=a.mp4") == 403
    assert ask(Role.VIEWER, "DELETE", "/api/sequences/hand") == 403
    assert ask(Role.ANNOTATOR, "POST", "/api/sequences/hand/open") in (200, 202)
    assert app.test_client().get("/api/sequences").status_code == 401


def test_answers_are_as_the_document_says(client: FlaskClient, root: Path) -> None:
    make_folder(root / "hand")

    def check(method: str, path: str, template: str, **request: Any) -> None:
        answer = client.open(path, method=method.upper(), **request)
        described = document()["paths"][template][method]["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"]
        tree = {"components": document()["components"], **schema}
        resource = Resource.from_contents(tree, default_specification=DRAFT202012)
        validator = Draft202012Validator(tree, registry=Registry().with_resource("", resource))
        assert list(validator.iter_errors(answer.get_json())) == []

    check("get", "/api/sequences", "/api/sequences")
    check("post", "/api/sequences?name=x.txt", "/api/sequences", data=b"")
    check("post", "/api/sequences/hand/open", "/api/sequences/{name}/open")
    check("get", "/api/sequences/hand", "/api/sequences/{name}")
    settled(client, "hand")
    check("post", "/api/sequences/hand/open", "/api/sequences/{name}/open")
    check("get", "/api/sequences/none", "/api/sequences/{name}")


def test_an_export_named_like_a_sequence_is_another_job(
    client: FlaskClient, root: Path, make_export: MakeExport
) -> None:
    make_folder(root / "264")
    assert opened(client, "264")["job"] == "_264"
    assert upload(client, make_export(), "264.zip")["id"] == "264"
    assert upload(client, make_export(), "_264.zip")["id"] != "_264"


def test_a_component_is_saved_listed_and_reset(
    client: FlaskClient, root: Path, settings: Settings
) -> None:
    make_folder(root / "hand", 3)
    opened(client, "hand")
    path = "/api/jobs/_hand/components"
    assert client.get(path).get_json() == {
        "folder": str(settings.results_path / "hand"), "components": [],
    }  # fmt: skip
    session = "/api/jobs/_hand/session"
    client.post(f"{session}/objects", json={"action": "add", "name": "", "label": "left"})
    mask = {"object": 1, "box": [2, 3, 4, 1], "runs": "0, 4"}
    assert client.post(f"{session}/edit", json={"frame": 1, "masks": [mask]}).status_code == 200
    assert client.post(f"{session}/accept", json={"until": None}).status_code in (200, 201)
    saved = client.post(path, json={"component": "left", "object": 1, "from": 0, "to": 1})
    told = saved.get_json()
    assert (saved.status_code, told["frames"], told["empty"]) == (200, 2, 1)
    assert (settings.results_path / "hand/left/00001.png").is_file()
    listed = client.get(path).get_json()["components"]
    assert [(each["component"], each["first"], each["last"]) for each in listed] == [("left", 0, 1)]
    packed = client.get(f"{path}.zip")
    assert packed.mimetype == "application/zip"
    assert int(packed.headers["Content-Length"]) == len(packed.data)
    with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
        assert archive.namelist() == [
            "components.json", "combined/00000.png", "combined/00001.png",
            "left/00000.png", "left/00001.png",
        ]  # fmt: skip
        kept = (settings.results_path / "hand/left/00001.png").read_bytes()
        assert archive.read("left/00001.png") == kept
    assert client.delete(f"{path}/left").get_json()["components"] == []
    assert client.get(f"{path}.zip").status_code == 404
    assert not (settings.results_path / "hand/left").exists()
    assert client.delete(f"{path}/left").status_code == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "'component' is missing"),
        ({"component": "left"}, "'object' is missing"),
        ({"component": "left", "object": True}, "'object' cannot be True"),
        ({"component": "left", "object": 0}, "Object 0 has no mask"),
        ({"component": "left", "object": 1, "from": "0"}, "'from' cannot be '0'"),
        ({"component": "../left", "object": 1}, "no name for a component"),
        ({"component": "left", "object": 1, "folder": "/tmp"}, "'folder' is unknown"),
        ({"component": "left", "object": 1}, "Object 1 has no mask"),
    ],
)
def test_a_component_that_cannot_be_saved_is_refused_in_words(
    client: FlaskClient, root: Path, body: dict[str, Any], words: str
) -> None:
    make_folder(root / "hand", 2)
    opened(client, "hand")
    answer = client.post("/api/jobs/_hand/components", json=body)
    assert answer.status_code == 400
    assert words in answer.get_json()["error"]


def test_components_of_a_job_of_cvat_are_409(client: FlaskClient, make_export: MakeExport) -> None:
    upload(client, make_export())
    body = {"component": "left", "object": 1}
    assert client.post("/api/jobs/264/components", json=body).status_code == 409
    assert client.get("/api/jobs/264/components").status_code == 409
