"""Promise: every action of a person leaves one line that says who, what and which job."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from errors import InputError
from jobs import audit
from jobs.files import stamp_of
from jobs.options import RunOptions
from jobs.service import Jobs


@pytest.fixture
def anna() -> Iterator[None]:
    with audit.acting("anna"):
        yield


def lines(jobs: Jobs) -> list[tuple[str, str, str]]:
    return [(line.actor, line.action, line.job_id) for line in jobs.audit(100)]


def send(jobs: Jobs, export: Path) -> str:
    with export.open("rb") as stream:
        return jobs.receive(export.name, stream).id


@pytest.mark.usefixtures("anna")
def test_what_a_person_does_is_noted_with_their_name(jobs: Jobs, export: Path) -> None:
    send(jobs, export)
    jobs.start_run("264", RunOptions())
    jobs.pause("264")
    jobs.resume("264")
    jobs.cancel("264")
    jobs.retry("264")
    jobs.result_downloaded("264", 1)
    jobs.delete_job("264")
    actions = ["upload", "start", "pause", "resume", "cancel", "retry", "download", "delete"]
    assert lines(jobs) == [("anna", action, "264") for action in actions]
    details = {line.action: line.detail for line in jobs.audit(100)}
    assert details["upload"] == f"264.zip, {export.stat().st_size} bytes"
    assert details["start"] == "run 1, initial"
    assert details["download"] == "run 1"
    assert [line.action for line in jobs.audit(2)] == ["download", "delete"]


@pytest.mark.usefixtures("anna")
def test_an_upload_without_a_change_and_one_that_is_refused_are_actions_too(
    jobs: Jobs, export: Path, tmp_path: Path
) -> None:
    send(jobs, export)
    send(jobs, export)
    refused = tmp_path / "bad.zip"
    refused.write_bytes(b"PK\x05\x06" + bytes(18))  # an archive of nothing
    send(jobs, refused)
    assert lines(jobs) == [("anna", "upload", job) for job in ("264", "264", "bad")]


def test_the_watched_folder_is_nobody(jobs: Jobs, export: Path) -> None:
    jobs.receive_file(export, stamp_of(export))
    assert lines(jobs) == []
    jobs.start_run("264", RunOptions())
    assert lines(jobs) == [("system", "start", "264")]


@pytest.mark.usefixtures("anna")
def test_what_did_not_happen_is_neither_noted_nor_logged(
    jobs: Jobs, export: Path, caplog: pytest.LogCaptureFixture
) -> None:
    send(jobs, export)
    with caplog.at_level(logging.INFO, "relay.audit"):
        for call in (jobs.cancel, jobs.retry, jobs.pause, jobs.resume):
            with pytest.raises(InputError):
                call("264")
        with suppress(RuntimeError), jobs.database.write() as session:
            audit.record(session, "start", "264")
            raise RuntimeError
    assert lines(jobs) == [("anna", "upload", "264")]
    assert caplog.messages == []


@pytest.mark.usefixtures("anna")
def test_the_log_says_it_too(jobs: Jobs, export: Path, caplog: pytest.LogCaptureFixture) -> None:
    send(jobs, export)
    with caplog.at_level(logging.INFO, "relay.audit"):
        jobs.start_run("264", RunOptions())
        jobs.delete_job("264")
    assert caplog.messages == ["anna: start 264 run 1, initial", "anna: delete 264"]
    assert (caplog.records[0].actor, caplog.records[0].action) == ("anna", "start")


@pytest.mark.usefixtures("anna")
def test_a_download_goes_on_where_it_cannot_be_noted(
    jobs: Jobs, export: Path, caplog: pytest.LogCaptureFixture
) -> None:
    send(jobs, export)
    with jobs.database.engine.begin() as connection:  # such as a disk that is full
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON audits BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
    with caplog.at_level(logging.INFO, "relay.audit"):
        jobs.result_downloaded("264", 1)
    assert caplog.messages[-1] == "anna: download 264 run 1"


def test_a_line_is_one_line(jobs: Jobs) -> None:
    with audit.acting("eve\n2026 admin"), jobs.database.write() as session:
        audit.record(session, "start", "264", "a\nb\x1b[2J")
    line = jobs.audit(1)[0]
    assert "\n" not in line.actor + line.detail
    assert "\x1b" not in line.detail
