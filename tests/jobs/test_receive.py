"""Promise: an export becomes a revision of its job, whole or not at all, with the reason if not."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from config import Limits, Settings
from errors import ConflictError, InputError
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.store import job_id_for
from jobs.views import JobState, JobView
from tests.helpers.clips import tiny_clip, write_clip


def send(jobs: Jobs, path: Path, name: str = "") -> JobView:
    with path.open("rb") as stream:
        return jobs.receive(name or path.name, stream, path.stat().st_size)


def test_an_export_waits_in_ready_with_all_that_a_page_shows(jobs: Jobs, export: Path) -> None:
    job = send(jobs, export)
    assert (job.id, job.name, job.state, job.kind) == ("264", "264", JobState.READY, "job")
    revision = job.revision
    assert (revision.number, revision.frames, revision.key_frames) == (1, 12, (0, 6, 11))
    assert (revision.width, revision.height, revision.has_images) == (64, 48, True)
    assert {label.name: label.objects for label in revision.labels}["object"] == 3
    kept = jobs.files.revision("264", 1) / "export.zip"
    assert kept.read_bytes() == export.read_bytes()


def test_the_same_content_again_is_no_new_revision_but_is_logged(jobs: Jobs, export: Path) -> None:
    send(jobs, export)
    again = send(jobs, export)
    assert again.revision.number == 1
    assert "Received again without a change" in jobs.job("264").log[-1].text
    assert list(jobs.files.tmp.iterdir()) == []


def test_what_cannot_be_tracked_is_a_failed_job_with_the_sentence_and_no_bytes(
    jobs: Jobs, export: Path
) -> None:
    job = send(jobs, write_clip(export, tiny_clip(12), []))
    assert job.state is JobState.FAILED
    assert job.reason
    assert job.reason == job.revision.refused
    assert not jobs.files.revision("264", 1).exists()
    assert list(jobs.files.tmp.iterdir()) == []


def test_a_refused_export_sent_again_makes_no_new_revision(jobs: Jobs, export: Path) -> None:
    write_clip(export, tiny_clip(12), [])
    send(jobs, export)
    assert send(jobs, export).revision.number == 1


def test_a_truncated_zip_is_a_failed_job_whose_reason_names_no_path_of_ours(
    jobs: Jobs, export: Path, settings: Settings
) -> None:
    export.write_bytes(export.read_bytes()[:-300])
    job = send(jobs, export)
    assert job.state is JobState.FAILED
    assert str(settings.data_dir) not in job.reason


def test_masks_without_images_are_accepted_when_an_earlier_revision_has_the_images(
    jobs: Jobs, export: Path
) -> None:
    send(jobs, export)
    write_clip(export, tiny_clip(12), [0, 6, 9], with_images=False)
    job = send(jobs, export)
    assert (job.state, job.revision.number) == (JobState.READY, 2)
    assert not job.revision.has_images


@pytest.mark.parametrize("length", [11, 13])
def test_masks_without_images_need_images_of_the_same_frames(
    jobs: Jobs, export: Path, length: int
) -> None:
    send(jobs, export)
    write_clip(export, tiny_clip(length), [0, 6], with_images=False)
    assert send(jobs, export).state is JobState.FAILED


def test_a_first_export_without_images_is_refused(jobs: Jobs, export: Path) -> None:
    write_clip(export, tiny_clip(12), [0, 6], with_images=False)
    assert send(jobs, export).state is JobState.FAILED


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("264.txt", b"PK\3\4"),
        ("264", b"PK\3\4"),
        (".zip", b"PK\3\4"),
        ("264.zip", b"these are words"),
        ("264.zip", b""),
        ("264.xml", b"{}"),
    ],
)
def test_what_is_no_archive_leaves_nothing(jobs: Jobs, name: str, body: bytes) -> None:
    with pytest.raises(InputError):
        jobs.receive(name, io.BytesIO(body))
    assert jobs.list_jobs().total == 0
    assert not jobs.files.tmp.exists() or list(jobs.files.tmp.iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(jobs: Jobs, export: Path) -> None:
    body = export.read_bytes()
    with pytest.raises(InputError, match="arrived"):
        jobs.receive("264.zip", io.BytesIO(body[:100]), len(body))
    assert jobs.list_jobs().total == 0
    assert list(jobs.files.tmp.iterdir()) == []


@pytest.mark.parametrize("announced", [True, False])
def test_more_bytes_than_the_limit_are_refused_announced_or_not(
    settings: Settings, export: Path, announced: bool
) -> None:
    jobs = Jobs(replace(settings, limits=Limits(archive_bytes=1000)))
    size = export.stat().st_size if announced else None
    with export.open("rb") as stream, pytest.raises(InputError, match="1000 bytes"):
        jobs.receive("264.zip", stream, size)
    assert not jobs.files.tmp.exists() or list(jobs.files.tmp.iterdir()) == []
    jobs.close()


def test_the_same_job_of_cvat_under_another_name_is_told(jobs: Jobs, export: Path) -> None:
    """Promise: a second card for one job of CVAT says where the first one is."""
    assert send(jobs, export).revision.warnings == ()
    (warning,) = send(jobs, export, "264 (1).zip").revision.warnings
    assert 'Job 7 of CVAT is here already as "264"' in warning
    write_clip(export, tiny_clip(11), [0])
    assert send(jobs, export, "other.zip").revision.warnings == ()


def test_folders_before_the_name_are_passed_over(jobs: Jobs, export: Path) -> None:
    assert send(jobs, export, "C:\\exports\\..\\264.zip").id == "264"


def test_plain_names_stay_and_others_become_slugs_that_never_meet() -> None:
    assert job_id_for("264") == "264"
    assert job_id_for("a.b-c_d") == "a.b-c_d"
    odd = ["täsk 1", "t sk 1", "..", "a..b", "-x", "x" * 65, "x" * 66, "ä", "ö", "a/b"]
    ids = [job_id_for(name) for name in odd]
    assert len(set(ids)) == len(odd)
    for name in ids:
        assert name.isascii()
        assert len(name) <= 64
        assert not {"/", " ", ".."} & {*name, name[:2]}


def test_a_job_whose_name_is_a_slug_is_found_by_its_id(jobs: Jobs, export: Path) -> None:
    job = send(jobs, export, "Straße 1 (neu).zip")
    assert jobs.job(job.id).job.name == "Straße 1 (neu)"


def test_files_of_another_database_are_neither_used_nor_overwritten(
    settings: Settings, export: Path
) -> None:
    first = Jobs(settings)
    job = send(first, export, "5.zip")
    first.start_run(job.id, RunOptions())
    folder = first.files.run(job.id, 1, 1)
    (folder / "spans").mkdir(parents=True)
    (folder / "spans" / "0.1.jsonl").write_text("of another life")
    first.close()
    (settings.data_dir / "relay.db").rename(settings.data_dir / "old.db")
    for beside in ("-wal", "-shm"):
        (settings.data_dir / f"relay.db{beside}").unlink(missing_ok=True)

    second = Jobs(settings)
    job = send(second, export, "5.zip")
    run = second.start_run(job.id, RunOptions())
    assert (job.revision.number, run.number) == (2, 2)
    assert (folder / "spans" / "0.1.jsonl").read_text() == "of another life"
    second.close()


def test_a_database_that_lost_its_files_gets_them_back_by_the_same_upload(
    jobs: Jobs, export: Path
) -> None:
    job = send(jobs, export, "5.zip")
    file = jobs.files.revision(job.id, 1) / "export.zip"
    file.unlink()
    with pytest.raises(ConflictError, match="upload its export again"):
        jobs.start_run(job.id, RunOptions())
    assert send(jobs, export, "5.zip").revision.number == 1
    assert file.read_bytes() == export.read_bytes()
