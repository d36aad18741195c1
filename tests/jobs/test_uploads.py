"""Promise: a crash between the last byte and the job loses nothing and makes nothing twice."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from config import Settings
from errors import ConflictError, InputError, NotFoundError
from jobs.locks import locked
from jobs.models import PartialUpload
from jobs.service import Jobs
from jobs.uploads import KEPT_SECONDS, BusyError
from tests.helpers.clips import tiny_clip, write_clip


def begun(jobs: Jobs, export: Path) -> tuple[str, Path]:
    """An upload whose bytes all lie on the disk, but that nobody took in: a crash came first."""
    data = export.read_bytes()
    made = jobs.uploads.create(export.name, len(data))
    part = jobs.settings.data_dir / "uploads" / f"{made.id}.part"
    part.write_bytes(data)
    return made.id, part


@pytest.mark.parametrize(
    "question",
    [
        lambda uploads, upload_id, end: uploads.view(upload_id),
        lambda uploads, upload_id, end: uploads.append(upload_id, end, io.BytesIO(), 0),
    ],
    ids=["view", "append"],
)
def test_a_crash_before_it_was_taken_in_is_mended_by_the_next_question(
    jobs: Jobs, export: Path, question: Callable[..., object]
) -> None:
    upload_id, part = begun(jobs, export)
    for _ in range(2):
        question(jobs.uploads, upload_id, export.stat().st_size)
        assert jobs.uploads.view(upload_id).job == "264"
    assert len(jobs.job("264").revisions) == 1
    assert not part.exists()
    kept = jobs.files.revision("264", 1) / "export.zip"
    assert kept.read_bytes() == export.read_bytes()


def test_a_crash_inside_the_transaction_keeps_the_bytes_for_the_next_try(
    jobs: Jobs, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id, part = begun(jobs, export)
    keep = jobs._receiver._keep

    def keep_and_die(*given: object) -> None:
        keep(*given)  # type: ignore[arg-type]
        raise KeyboardInterrupt  # what a process does no more

    with monkeypatch.context() as patch:
        patch.setattr(jobs._receiver, "_keep", keep_and_die)
        with pytest.raises(KeyboardInterrupt):
            jobs.uploads.view(upload_id)
    assert jobs.list_jobs().total == 0
    assert part.read_bytes() == export.read_bytes()
    assert jobs.uploads.view(upload_id).job == "264"
    detail = jobs.job("264")
    assert len(detail.revisions) == 1
    kept = jobs.files.revision("264", detail.job.revision.number) / "export.zip"
    assert kept.read_bytes() == export.read_bytes()


def test_a_crash_after_the_transaction_leaves_no_second_revision(jobs: Jobs, export: Path) -> None:
    upload_id, part = begun(jobs, export)
    jobs.uploads.view(upload_id)
    part.write_bytes(export.read_bytes())  # the process died before it removed them
    assert jobs.uploads.view(upload_id).job == "264"
    assert len(jobs.job("264").log) == 1


def test_an_archive_that_cannot_be_taken_in_says_why_again_and_again(
    jobs: Jobs, tmp_path: Path
) -> None:
    text = tmp_path / "264.zip"
    text.write_bytes(b"these are words")
    upload_id, part = begun(jobs, text)
    for _ in range(2):
        view = jobs.uploads.view(upload_id)
        assert (view.job, view.offset) == ("", view.bytes)
        assert "no export" in view.error
        with pytest.raises(InputError, match="no export"):
            jobs.uploads.append(upload_id, view.bytes, io.BytesIO(), 0)
    assert not part.exists()
    assert jobs.list_jobs().total == 0


def test_one_who_asks_while_it_is_taken_in_does_not_wait(jobs: Jobs, export: Path) -> None:
    upload_id, part = begun(jobs, export)
    with locked(part.with_suffix(".lock"), wait=True):
        view = jobs.uploads.view(upload_id)
        assert (view.offset, view.job) == (view.bytes, "")
        with pytest.raises(BusyError):
            jobs.uploads.append(upload_id, view.bytes, io.BytesIO(), 0)
        with pytest.raises(BusyError):
            jobs.uploads.remove(upload_id)


def test_revisions_come_in_the_order_in_which_uploads_end_however_long_each_takes(
    jobs: Jobs, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "second").mkdir()
    write_clip(tmp_path / "second" / "264.zip", tiny_clip(12), [0, 4])
    first, _ = begun(jobs, export)
    second, _ = begun(jobs, tmp_path / "second" / "264.zip")
    inspected, go_on = threading.Event(), threading.Event()
    inspect = jobs._receiver._inspect

    def slow_at_first(*given: object) -> object:
        if not inspected.is_set():
            inspected.set()
            go_on.wait(30)
        return inspect(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs._receiver, "_inspect", slow_at_first)
    threads = [threading.Thread(target=jobs.uploads.view, args=(one,)) for one in (first, second)]
    threads[0].start()
    assert inspected.wait(30)
    threads[1].start()
    threads[1].join(0.5)  # it would be done by now if it did not wait for its turn
    go_on.set()
    for thread in threads:
        thread.join()
    assert [r.key_frames for r in jobs.job("264").revisions] == [(0, 4), (0, 6, 11)]


def test_what_nobody_touched_for_a_day_goes_with_its_bytes_unless_somebody_sends(
    jobs: Jobs, export: Path
) -> None:
    ids = [jobs.uploads.create(export.name, 100).id for _ in range(3)]
    with jobs.database.write() as session:
        for row in session.scalars(select(PartialUpload).where(PartialUpload.id.in_(ids[:2]))):
            row.updated -= KEPT_SECONDS + 1
    folder = jobs.settings.data_dir / "uploads"
    with locked(folder / f"{ids[1]}.lock", wait=True):
        jobs.uploads.sweep()
    with pytest.raises(NotFoundError):
        jobs.uploads.view(ids[0])
    assert sorted(path.stem for path in folder.glob("*.part")) == sorted(ids[1:])
    jobs.uploads.sweep()
    assert [path.stem for path in folder.glob("*.part")] == ids[2:]


def test_files_without_a_row_go_after_a_day(jobs: Jobs, export: Path, settings: Settings) -> None:
    jobs.uploads.create(export.name, 100)
    folder = settings.data_dir / "uploads"
    old, new = folder / f"{'a' * 32}.part", folder / f"{'b' * 32}.part"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - KEPT_SECONDS - 1,) * 2)
    jobs.uploads.sweep()
    assert (old.exists(), new.exists()) == (False, True)


def test_bytes_that_were_lost_are_no_upload_any_more(jobs: Jobs, export: Path) -> None:
    made = jobs.uploads.create(export.name, 100)
    (jobs.settings.data_dir / "uploads" / f"{made.id}.part").unlink()
    with pytest.raises(NotFoundError, match="begin a new one"):
        jobs.uploads.append(made.id, 0, io.BytesIO(b"x"), 1)


def test_a_piece_that_ends_early_is_kept_and_says_how_much_came(jobs: Jobs, export: Path) -> None:
    made = jobs.uploads.create(export.name, 100)
    with pytest.raises(InputError, match="Only 3 of 10 bytes"):
        jobs.uploads.append(made.id, 0, io.BytesIO(b"PK\3"), 10)
    assert jobs.uploads.view(made.id).offset == 3
    with pytest.raises(ConflictError, match="3 bytes"):
        jobs.uploads.append(made.id, 0, io.BytesIO(b"PK\3"), 3)
