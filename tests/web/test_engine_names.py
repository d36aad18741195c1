"""Promise: an engine or segmenter that there is not is refused at once, with those there are."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from tests.web.kit import MakeExport
from web.options import ENGINES


@pytest.mark.parametrize("name", ["magic", "", "DeAOT-T", "sam-vit-b"])
def test_an_unknown_engine_is_refused_when_the_run_is_started(
    client: FlaskClient, make_export: MakeExport, name: str
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    answer = client.post("/api/jobs/264/runs", json={"engine": name})
    assert answer.status_code == 400
    assert answer.get_json()["error"] == (
        f"There is no engine named {name!r}: use one of {', '.join(ENGINES)}."
    )
    assert client.get("/api/jobs/264").get_json()["runs"] == []


def test_an_unknown_segmenter_and_an_endless_memory_are_refused(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    for options, said in (
        ({"segmenter": "deaot-t"}, "There is no segmenter named 'deaot-t': use one of builtin, "),
        ({"memory_frames": -1}, "The option 'memory_frames' is a whole number, 0 (the engine's"),
        ({"memory_gap": 10_000}, "The option 'memory_gap' is a whole number, 0 (the engine's"),
        ({"memory_keeps": "all"}, "The option 'memory_keeps' cannot be 'all': give key-frames or"),
    ):
        answer = client.post("/api/jobs/264/runs", json=options)
        assert answer.status_code == 400
        assert answer.get_json()["error"].startswith(said)
    assert client.get("/api/jobs/264").get_json()["runs"] == []


def test_an_engine_whose_weights_a_worker_may_have_is_taken(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    answer = client.post("/api/jobs/264/runs", json={"engine": "deaot-r50-l"})
    assert answer.status_code in {200, 201, 202}, answer.get_json()
