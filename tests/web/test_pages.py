"""Promise: the dashboard and the job page can be read without JavaScript, and tell the truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from config import Settings
from jobs.options import KeyFrames, Mode, RunOptions
from jobs.views import (
    ChangeView,
    ExpectedView,
    PlannedSpanView,
    PlanView,
    RunState,
    RunView,
    SpanState,
    SpanView,
)
from tests.web.kit import MakeExport
from tracker import segmenters
from tracker.engines import AUTO, engines
from web import words
from web.engines import ENGINES, SEGMENTERS
from web.pages import CLIENT, REFRESH, segments

STATIC = Path(__file__).parents[2] / "static"


def span(ordinal: int, start: int, stop: int, **more: object) -> SpanView:
    given = SpanView(
        ordinal=ordinal, start=start, stop=stop, direction="both", state=SpanState.QUEUED,
        attempts=0, frames_done=0, frames_total=stop - start + 1, worker="", seconds=0, error="",
    )  # fmt: skip
    return replace(given, **more)


def run_of(*spans: SpanView) -> RunView:
    return RunView(
        number=1, revision=1, state=RunState.RUNNING, options=RunOptions(), engine="builtin",
        created=0, started=1, finished=None, frames_done=0, frames_total=10, frames_in_job=10,
        frames_per_second=0,
        eta_seconds=None, workers=(), spans=spans, result_bytes=0, result_sha256="", error="",
    )  # fmt: skip


def test_the_dashboard_shows_five_boxes_even_when_empty(client: FlaskClient) -> None:
    page = client.get("/").text
    for title in ("Ready", "Queued", "In progress", "Completed", "Failed"):
        assert re.search(rf"<h2[^>]*>{title}\s*<span", page)


def test_a_job_lies_in_the_box_of_its_state_with_its_facts(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    client.post("/api/jobs?name=265.zip", data=make_export(()))
    client.post("/api/jobs?name=266.zip", data=make_export())
    client.post("/api/jobs/266/runs", json={})

    page = client.get("/").text
    box = {
        state: page.partition(f'id="cards-{state}"')[2].partition("</section>")[0]
        for state in ("ready", "queued", "failed")
    }
    assert 'id="job-264"' in box["ready"]
    assert re.search(r"6 frames · \d key frame", box["ready"])
    assert 'title="32 × 24 pixels; key frames 0, 5"' in box["ready"]
    assert 'id="job-266"' in box["queued"]
    assert 'id="job-265"' in box["failed"]
    reason = client.get("/api/jobs/265").get_json()["job"]["reason"]
    assert reason.replace('"', "&#34;") in box["failed"]


def test_trouble_is_said_on_the_page_and_a_resting_broker_is_none(
    client: FlaskClient, settings: Settings, make_app: Callable[[Settings], Flask]
) -> None:
    assert 'role="alert"' not in client.get("/").text
    away = make_app(replace(settings, broker_url="redis://127.0.0.1:9/0")).test_client()
    assert re.search(r'class="banner warn" role="alert">Broker: \S', away.get("/").text)


def test_a_search_shows_only_what_fits(client: FlaskClient, make_export: MakeExport) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    client.post("/api/jobs?name=other.zip", data=make_export())
    page = client.get("/?search=oth").text
    assert 'id="job-other"' in page
    assert 'id="job-264"' not in page


def test_a_full_box_says_how_many_more_there_are(
    client: FlaskClient, make_export: MakeExport
) -> None:
    for number in range(3):
        client.post(f"/api/jobs?name={number}.zip", data=make_export())
    page = client.get("/?limit=2").text
    assert page.count('class="card"') == 2
    assert "Show more of 3" in page
    assert client.get("/?limit=none").status_code == 400


def test_the_job_page_shows_runs_revisions_and_log(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    client.post("/api/jobs/264/runs", json={"frames": "1-2"})
    page = client.get("/jobs/264").text
    assert "frames 1-2" in page
    assert client.get("/api/jobs/264").get_json()["revisions"][0]["sha256"][:12] in page
    assert page.count("<time") >= 3
    assert re.search(r"<time data-clock[^>]*>\d\d:\d\d:\d\d UTC</time>", page)
    assert "<td>learning the objects</td>" in page
    assert "<td>writing the result</td>" in page
    assert "<td>learn</td>" not in page
    assert "<td>assemble</td>" not in page


def test_options_that_change_nothing_are_told_of_before_and_after_the_start(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    options = {"engine": "flow", "seed": 7}
    said = "seed changes nothing here: flow draws no random numbers."
    assert client.post("/api/jobs/264/plan", json=options).get_json()["notes"] == [said]
    assert said in client.post("/jobs/264/plan", json=options).text
    assert client.post("/api/jobs/264/runs", json=options).get_json()["notices"] == [said]
    page = client.get("/jobs/264").text
    assert f'<span class="remark">{said}</span>' in page
    assert f"Run 1: {said}" in page


def test_a_job_that_is_not_there_is_said_to_people_without_commands(client: FlaskClient) -> None:
    answer = client.get("/jobs/none")
    assert answer.status_code == 404
    assert "There is no job &#34;none&#34;" in answer.text
    assert "relay " not in answer.text
    assert "relay " not in client.post("/jobs/none/plan", json={}).text


def test_an_open_page_whose_job_was_deleted_is_led_to_the_dashboard(client: FlaskClient) -> None:
    answer = client.get("/jobs/none", headers={REFRESH: "1"})
    assert (answer.status_code, answer.location) == (303, "/")


def test_a_label_without_masks_is_not_on_the_card_and_is_grey_on_the_job_page(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export(unused=("bicycle",)))
    board, job = client.get("/").text, client.get("/jobs/264").text
    assert re.search(r"</svg>car\b", board)
    assert "bicycle" not in board
    assert re.search(r'<li class="unused"[^>]*>.*bicycle</li>', job)
    assert not re.search(r'<li class="unused"[^>]*>.*car</li>', job)


def test_without_a_worker_the_page_says_how_to_start_one(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    client.post("/api/jobs/264/runs", json={})
    page = client.get("/").text
    said = "No worker is running: start one with <code>./start_worker.sh NAME</code>"
    assert said in page
    assert "Waits for a worker: none is running" in page


def test_a_refused_export_can_be_uploaded_again_from_its_card(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    assert 'data-action="upload"' not in client.get("/").text
    client.post("/api/jobs?name=265.zip", data=make_export(()))
    card = client.get("/").text.partition('id="job-265"')[2]
    assert 'data-action="upload"' in card


def test_the_engines_offered_are_those_that_workers_have() -> None:
    assert (AUTO, *(engine.name for engine in engines())) == ENGINES


def test_the_segmenters_offered_are_those_that_workers_have() -> None:
    assert segmenters.names() == SEGMENTERS


def changed(kind: str) -> ChangeView:
    return ChangeView(kind=kind, label="car", was="", masks=1, frames="0")


def spans_of(*spans: tuple[int, int, str], **more: object) -> PlanView:
    planned = PlanView(
        frames_total=sum(stop - start + 1 for start, stop, _ in spans), frames_in_job=60,
        objects=2, key_frames=(0, 30),
        spans=tuple(
            PlannedSpanView(ordinal=n, start=a, stop=b, direction=d, frames_total=b - a + 1)
            for n, (a, b, d) in enumerate(spans)
        ),
        writes=bool(spans), expected=ExpectedView(seconds=75.0, basis="measured"), changes=(),
        changes_left_out=0, given_up="", conflicts=(), conflicts_left_out=0, beyond=(),
        beyond_left_out=0, notes=(),
    )  # fmt: skip
    return replace(planned, **more)


@pytest.mark.parametrize(
    ("plan", "options", "said"),
    [
        (
            spans_of((1, 29, "both"), (31, 59, "forward")),
            RunOptions(),
            "Computes 58 frames in 2 spans: 1 to 29 from both sides, 31 to 59 forward. "
            "Key frames 0, 30 stay as drawn.",
        ),
        (
            spans_of((0, 4, "backward"), (6, 6, "both")),
            RunOptions(frames="6"),
            "Computes 6 frames in 2 spans: 0 to 4 backward, 6 from both sides. "
            "Of these, only the frames you named are filled. Key frames 0, 30 stay as drawn.",
        ),
        (
            spans_of(*((n, n + 1, "both") for n in range(1, 19, 3)), key_frames=(3,)),
            RunOptions(mode=Mode.RESEGMENT, frames="3", keyframes=KeyFrames.PARTIAL),
            "Recomputes 12 of 60 frames in 6 spans: 1 to 2 from both sides, "
            "4 to 5 from both sides, 7 to 8 from both sides, 10 to 11 from both sides, and 2 more. "
            "Key frame 3 keeps what you drew, and other objects go on through.",
        ),
        (
            spans_of(),
            RunOptions(),
            "Nothing to compute: every frame asked for is there already.",
        ),
        (
            spans_of(writes=True, changes=(changed("deleted"), changed("placed"))),
            RunOptions(mode=Mode.RESEGMENT),
            "Nothing to compute: masks are only taken away. Key frames 0, 30 stay as drawn.",
        ),
        (
            spans_of(writes=True, changes=(changed("attributes"), changed("deleted"))),
            RunOptions(mode=Mode.RESEGMENT),
            "Nothing to compute: what you changed is taken over as it is. "
            "Key frames 0, 30 stay as drawn.",
        ),
    ],
)
def test_a_plan_is_said_in_words(plan: PlanView, options: RunOptions, said: str) -> None:
    assert words.plan(plan, options) == said


def test_what_changed_and_about_how_long_it_takes_is_said_in_words() -> None:
    changes = (
        ChangeView(kind="edited", label="car", was="", masks=3, frames="7, 9-10"),
        ChangeView(kind="moved", label="truck", was="car", masks=1, frames="7"),
    )
    planned = spans_of(
        (1, 9, "both"), changes=changes, changes_left_out=2, given_up="5", conflicts=("Two ways.",),
        conflicts_left_out=1,
    )  # fmt: skip
    assert (
        words.expected(planned) == "Follows at least 2 objects. Takes about 1 min 15 s (measured)."
    )
    assert words.changes(planned) == (
        'Edited, "car": 3 masks, frames 7, 9-10',
        'Moved from "car" to "truck": 1 mask, frame 7',
        "and 2 further kinds of change",
        "No key frame any more: frame 5",
    )
    assert words.conflicts(planned) == ("Two ways.", "And 1 more such places.")


def test_a_name_may_break_after_its_marks_and_stays_plain_text() -> None:
    assert words.breakable("lap-3_cam") == "lap-<wbr>3_<wbr>cam"
    assert words.breakable("<b>_") == "&lt;b&gt;_<wbr>"


def test_the_start_form_is_told_the_plan_or_the_reason_why_not(
    client: FlaskClient, make_export: MakeExport
) -> None:
    client.post("/api/jobs?name=264.zip", data=make_export())
    sound = client.post("/jobs/264/plan", json={})
    wrong = client.post("/jobs/264/plan", json={"frames": "99"})
    assert "Computes 4 frames in 1 span" in sound.text
    assert "data-startable" in sound.text
    assert "data-startable" not in wrong.text
    assert wrong.status_code == 200
    assert 'class="reason">The frames' in wrong.text


def test_the_page_asks_for_the_live_client_only_where_it_is_installed(
    app: Flask, tmp_path: Path
) -> None:
    client = app.test_client()
    app.static_folder = str(tmp_path)
    assert CLIENT not in client.get("/").text
    (tmp_path / CLIENT).parent.mkdir(parents=True)
    (tmp_path / CLIENT).write_text("")
    assert CLIENT in client.get("/").text


def test_every_file_that_a_page_or_module_asks_for_is_there(client: FlaskClient) -> None:
    page = client.get("/").text
    asked = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert len(asked) >= 4
    for path in asked - {f"/static/{CLIENT}"}:
        assert client.get(path).status_code == 200
    for module in (STATIC / "js").glob("*.js"):
        for name in re.findall(r'from "\./([\w.]+)"', module.read_text("utf-8")):
            assert (STATIC / "js" / name).is_file()


def test_scripts_never_write_data_as_html() -> None:
    for module in (STATIC / "js").glob("*.js"):
        text = module.read_text("utf-8")
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_the_bar_has_one_segment_per_span_as_wide_as_its_frames() -> None:
    bar = segments(
        run_of(
            span(1, 6, 9, state=SpanState.LEASED, frames_done=2),
            span(0, 0, 5, state=SpanState.DONE, frames_done=6),
            span(2, 0, 9, direction="assemble", frames_total=1),
        )
    )
    assert [(part.left, part.width, part.done, part.state) for part in bar] == [
        (0, 60, 60, "done"),
        (60, 40, 20, "leased"),
    ]


def test_a_run_without_spans_has_one_segment() -> None:
    assert [part.width for part in segments(run_of())] == [100]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.size(0), "0 B"),
        (words.size(999), "999 B"),
        (words.size(1_500), "1.5 kB"),
        (words.size(48_213_311), "48 MB"),
        (words.size(5 * 10**15), "5000 TB"),
        (words.duration(0.2), "0 s"),
        (words.duration(130), "2 min 10 s"),
        (words.duration(1800), "30 min"),
        (words.duration(3900), "1 h 5 min"),
        (words.few([]), "none"),
        (words.few([0, 30]), "0, 30"),
        (words.few(range(0, 100, 10)), "0, 10, 20, 30, 40 … 90 (10)"),
        (words.count(1, "frame"), "1 frame"),
        (words.count(1200, "frame"), "1,200 frames"),
        (words.moment(0), "1970-01-01 00:00 UTC"),
        (words.clock(3661), "01:01:01 UTC"),
    ],
)
def test_numbers_are_said_in_words(said: str, expected: str) -> None:
    assert said == expected


def test_what_a_correction_repairs_is_rounded_as_the_lists_of_frames_round_it() -> None:
    told = [words.masks(count) for count in (0.4, 0.5, 1.4, 2.5)]
    assert told == ["less than one mask", "about 1 mask", "about 1 mask", "about 3 masks"]
