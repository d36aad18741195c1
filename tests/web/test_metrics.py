"""Promise: /metrics tells Prometheus what happens, in its own terms, also while parts are away."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from config import Settings
from jobs import tally
from jobs.options import RunOptions
from jobs.service import Jobs
from tests.helpers.postgres import own_postgres
from tests.web.kit import KEY_TEXT, MakeExport
from web.context import KEY
from worker import leases, presence
from worker.loop import Identity, SpanLoop

MakeApp = Callable[[Settings], Flask]
UNITS = ("_seconds", "_bytes", "_info", "_total", "_bucket", "_sum", "_count")
COUNTS_OF_NOW = {  # plain numbers, which have no unit
    "relay_jobs", "relay_spans", "relay_queue_depth", "relay_workers", "relay_broker_up",
    "relay_database_up",
}  # fmt: skip


@pytest.fixture
def settings(either_url: str, settings: Settings) -> Settings:
    return replace(settings, database_url=either_url)


@pytest.fixture
def jobs(app: Flask) -> Jobs:
    found: Jobs = app.extensions[KEY].jobs
    return found


Labels = tuple[tuple[str, str], ...]


def scrape(client: FlaskClient) -> dict[tuple[str, Labels], float]:
    """Every sample by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    samples = [
        sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    ]
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(found) == len(samples), "no series twice"
    return found


def value(client: FlaskClient, name: str, **labels: str) -> float:
    return scrape(client)[name, tuple(sorted(labels.items()))]


def queue(jobs: Jobs, data: bytes, name: str = "264.zip") -> None:
    jobs.start_run(jobs.receive(name, io.BytesIO(data)).id, RunOptions())


def test_names_and_labels_are_as_prometheus_wants_them(
    client: FlaskClient, jobs: Jobs, make_export: MakeExport
) -> None:
    queue(jobs, make_export())
    with jobs.database.write() as session:
        presence.report(
            session, name="w", host="h", device="cuda:0", doing="", gpu=(2**30, 80 * 2**30)
        )
    names = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        assert family.documentation, family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        for sample in family.samples:
            names.add(sample.name)
            assert (family.type == "counter") == sample.name.endswith("_total")
            assert not {"job", "job_id", "run"} & sample.labels.keys()
            assert (
                sample.name in COUNTS_OF_NOW
                or sample.name.endswith(UNITS)
                or (sample.name.startswith("process_") and sample.name.endswith("_fds"))
            ), sample.name
    assert names >= COUNTS_OF_NOW
    assert {
        "relay_span_seconds_bucket", "relay_span_seconds_sum", "relay_span_seconds_count",
        "relay_frames_total", "relay_span_attempts_total", "relay_lease_expiries_total",
        "relay_late_commits_total", "relay_worker_last_seen_timestamp_seconds",
        "relay_worker_gpu_memory_bytes", "relay_disk_free_bytes", "relay_build_info",
        "process_resident_memory_bytes",
    } <= names  # fmt: skip
    assert (
        value(client, "relay_worker_gpu_memory_bytes", worker="w", host="h", kind="used") == 2**30
    )


def test_prometheus_may_ask_for_openmetrics(client: FlaskClient) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.content_type.startswith("application/openmetrics-text")
    assert "relay_frames" in {family.name for family in read_openmetrics(answer.text)}


def test_jobs_and_spans_are_counted_by_state_and_only_those_that_are_not_over(
    client: FlaskClient, jobs: Jobs, make_export: MakeExport
) -> None:
    jobs.receive("ready.zip", io.BytesIO(make_export()))
    for name in ("one", "two", "paused", "cancelled"):
        queue(jobs, make_export(), f"{name}.zip")
    many = len(jobs.job("one").runs[0].spans)
    jobs.pause("paused")
    jobs.cancel("cancelled")
    with jobs.database.write() as session:
        assert leases.claim(session, "w") is not None
    found = scrape(client)
    states = {
        labels[0][1]: count for (name, labels), count in found.items() if name == "relay_jobs"
    }
    assert states == {"ready": 1, "queued": 2, "running": 1, "completed": 0, "failed": 1}
    assert found["relay_spans", (("state", "queued"),)] == 3 * many - 1
    assert found["relay_spans", (("state", "leased"),)] == 1
    assert found["relay_queue_depth", ()] == 2 * many - 1


def test_spans_times_fill_a_histogram(client: FlaskClient, jobs: Jobs) -> None:
    with jobs.database.write() as session:
        for seconds in (0.5, 1.0, 2.5, 100.0, 9999.0):
            tally.add_span(session, seconds)
    found = scrape(client)
    buckets = {
        labels[0][1]: count
        for (name, labels), count in found.items()
        if name == "relay_span_seconds_bucket"
    }
    assert buckets == {
        "1.0": 2, "3.0": 3, "10.0": 3, "30.0": 3, "100.0": 4, "300.0": 4, "1000.0": 4, "3000.0": 4,
        "+Inf": 5,
    }  # fmt: skip
    assert found["relay_span_seconds_count", ()] == 5
    assert found["relay_span_seconds_sum", ()] == pytest.approx(10103.0)


def test_counts_never_fall_not_even_when_the_job_is_deleted(
    client: FlaskClient, jobs: Jobs, settings: Settings, make_export: MakeExport
) -> None:
    queue(jobs, make_export())
    before = scrape(client)
    with jobs.database.write() as session:
        tally.add(session, tally.LEASE_EXPIRIES, 2)
        tally.add(session, tally.LATE_COMMITS)
    loop = SpanLoop(settings, jobs.database, Identity(name="w", host="here", device="cpu"))
    while loop.step():
        pass
    detail = jobs.job("264")
    spans = [span for run in detail.runs for span in run.spans]
    worked = scrape(client)

    def gained(name: str) -> float:
        return worked[name, ()] - before[name, ()]

    assert gained("relay_lease_expiries_total") == 2
    assert gained("relay_late_commits_total") == 1
    assert gained("relay_span_attempts_total") == len(spans)
    assert gained("relay_frames_total") == detail.runs[0].frames_total
    assert gained("relay_span_seconds_count") == len(spans)
    jobs.delete_job("264")
    deleted = scrape(client)
    for (name, labels), count in worked.items():
        if name.startswith("relay_") and name.endswith(("_total", "_bucket", "_count", "_sum")):
            assert deleted[name, labels] == count


def test_two_workers_of_one_name_on_two_hosts_are_two_series(
    client: FlaskClient, jobs: Jobs
) -> None:
    with jobs.database.write() as session:
        for host in ("a", "b"):
            presence.report(session, name="w", host=host, device="cpu", doing="")
    found = scrape(client)
    assert found["relay_workers", ()] == 2
    seen = [labels for name, labels in found if name == "relay_worker_last_seen_timestamp_seconds"]
    assert len(seen) == 2


@pytest.mark.postgres
def test_a_database_that_is_away_is_a_figure_and_no_error(
    tmp_path: Path, make_app: MakeApp
) -> None:
    with own_postgres() as server:
        client = make_app(Settings(data_dir=tmp_path, database_url=server.url)).test_client()
        assert value(client, "relay_database_up") == 1
        server.stop()
        found = scrape(client)
        server.start()
        assert value(client, "relay_database_up") == 1
    assert found["relay_database_up", ()] == 0
    assert not any(name == "relay_jobs" for name, _ in found)
    assert found["relay_disk_free_bytes", ()] > 0
    assert any(name == "relay_build_info" for name, _ in found)


def test_the_page_needs_the_sign_in_that_all_need(guarded: FlaskClient) -> None:
    assert guarded.get("/metrics").status_code in {302, 303, 401}
    answer = guarded.get("/metrics", headers={"Authorization": f"Bearer {KEY_TEXT}"})
    assert answer.status_code == 200
    assert "relay_build_info" in answer.text
