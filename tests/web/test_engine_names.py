"""Promise: an engine or segmenter that there is not is refused at once, with those there are."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from jobs.session_start import LEARNING
from jobs.views import WorkerView
from tests.web.kit import MakeExport
from tracker import engines as tracker_engines
from tracker import models
from web.engines import ENGINES, GOOD_FOR, OWN, PUBLISHED, Presence, engines, segmenters


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


def test_what_an_engine_is_good_for_is_what_the_workers_say_of_it() -> None:
    told = {info.name: info.summary for info in tracker_engines.engines()}
    assert told == OWN | PUBLISHED
    assert {model.name: model.best_for for model in models.models()} == GOOD_FOR


def worker(name: str, *engines: str) -> WorkerView:
    return WorkerView(
        name=name, host="h", device="cpu", last_seen=0, doing="", trouble="", gpu_bytes=None,
        gpu_bytes_total=None, engines=engines,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "presence", "said"),
    [
        ((), Presence.UNKNOWN, "No worker is online to say whether its weights are there."),
        ((worker("a"),), Presence.MISSING, "`relay models get deaot-t` brings its weights."),
        ((worker("a", "deaot-t"),), Presence.HERE, "a has its weights."),
        ((worker("a", "deaot-t"), worker("b")), Presence.HERE, "Only a of 2 workers can run it."),
        (
            (worker("a", "deaot-t"), worker("b", "deaot-t")),
            Presence.HERE,
            "All workers have its weights.",
        ),
    ],
)
def test_whether_an_engine_is_present_is_what_workers_say(
    workers: tuple[WorkerView, ...], presence: Presence, said: str
) -> None:
    choice = next(each for each in engines(workers) if each.name == "deaot-t")
    assert choice.presence is presence
    assert choice.note.startswith("DeAOT-T: one layer, the fastest of them. Good for most speed. ")
    assert choice.note.endswith(said)
    assert engines(workers)[0].presence is Presence.HERE
    assert segmenters(workers)[0].presence is Presence.HERE


def test_which_engines_learn_is_what_the_workers_registry_says() -> None:
    assert {info.name for info in tracker_engines.engines() if info.learns} == LEARNING
