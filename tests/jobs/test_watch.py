"""Promise: archives in the downloads folder are taken up when they are whole, and never before."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from config import Settings
from errors import SettingsError
from jobs import tidy
from jobs.files import hash_file, stamp_of
from jobs.models import Run
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState
from jobs.watch import Watch, is_whole
from tests.helpers.clips import tiny_clip, write_clip


@pytest.fixture
def folder(jobs: Jobs) -> Path:
    jobs.settings.downloads_path.mkdir()
    return jobs.settings.downloads_path


@pytest.fixture
def watch(jobs: Jobs, folder: Path) -> Watch:
    return Watch(jobs)


def test_a_whole_archive_is_taken_up_at_the_second_poll_and_stays_where_it_is(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    shutil.copy(export, folder / "264.zip")
    assert watch.poll() == ()
    assert watch.poll() == ("264",)
    assert watch.poll() == ()
    assert jobs.job("264").job.state is JobState.READY
    assert (folder / "264.zip").exists()


def test_a_half_copied_archive_is_never_touched_however_long_it_stands_still(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    body = export.read_bytes()
    with (folder / "264.zip").open("wb") as file:
        file.write(body[: len(body) // 2])
        file.flush()
        assert [watch.poll() for _ in range(4)] == [()] * 4
        file.write(body[len(body) // 2 :])
    assert watch.poll() == ()
    assert watch.poll() == ("264",)
    assert jobs.job("264").job.revision.number == 1


def test_an_archive_that_still_grows_is_left_alone(
    watch: Watch, folder: Path, export: Path
) -> None:
    path = folder / "264.zip"
    shutil.copy(export, path)
    for second in range(4):
        os.utime(path, (second, second))
        assert watch.poll() == ()


def test_a_bare_xml_is_whole_when_its_last_tag_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "264.xml"
    path.write_bytes(b"<?xml version='1.0'?><annotations><track>")
    assert not is_whole(path)
    path.write_bytes(b"<?xml version='1.0'?><annotations></annotations>\n\n")
    assert is_whole(path)
    path.write_bytes("<annotations></annotations>\n".encode("utf-16"))
    assert is_whole(path)


def test_a_replaced_archive_is_a_new_revision(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    shutil.copy(export, folder / "264.zip")
    watch.poll()
    watch.poll()
    write_clip(folder / "264.zip", tiny_clip(12), [0, 4])
    watch.poll()
    assert watch.poll() == ("264",)
    assert jobs.job("264").job.revision.number == 2


def test_a_new_watcher_does_not_take_up_again_what_is_known(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    shutil.copy(export, folder / "264.zip")
    watch.poll()
    watch.poll()
    jobs.delete_job("264")
    other = Watch(jobs)
    assert [other.poll() for _ in range(3)] == [()] * 3
    assert jobs.list_jobs().total == 0, "a deleted job does not come back by itself"


def test_a_file_that_is_no_export_is_a_notice_until_it_goes(
    jobs: Jobs, watch: Watch, folder: Path
) -> None:
    (folder / "words.zip").write_text("these are words")
    (folder / "readme.txt").write_text("passed over")
    for _ in range(3):
        watch.poll()
    assert len(jobs.notices()) == 1
    assert jobs.notices()[0].startswith("words.zip is no export")
    (folder / "words.zip").unlink()
    watch.poll()
    assert jobs.notices() == ()


def test_bad_lines_of_updates_txt_and_missing_archives_are_notices(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    (folder / "updates.txt").write_text("264.zip\nnonsense\n9.zip\n")
    shutil.copy(export, folder / "264.zip")
    watch.poll()
    assert watch.poll() == ("264",)
    notices = jobs.notices()
    assert [("line 2" in n, "9.zip" in n) for n in notices] == [(True, False), (False, True)]
    assert jobs.list_jobs().notices == notices


def test_a_downloaded_result_takes_its_own_line_out_of_updates_txt(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    (folder / "updates.txt").write_text("5.zip\n15.zip\n")
    for name in ("5.zip", "15.zip"):
        shutil.copy(export, folder / name)
    watch.poll()
    watch.poll()
    jobs.result_downloaded("5")
    assert (folder / "updates.txt").read_text() == "15.zip\n"


def test_the_thread_takes_up_what_appears_and_stops_when_told(
    jobs: Jobs, folder: Path, export: Path
) -> None:
    watch = Watch(jobs, interval=0.1)
    watch.start()
    shutil.copy(export, folder / "264.zip")
    seen = threading.Event()
    for _ in range(600):
        if jobs.list_jobs().total:
            break
        seen.wait(0.1)
    watch.stop()
    assert [job.id for job in jobs.list_jobs().jobs] == ["264"]


def test_odd_files_are_notices_and_stop_no_other(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    (folder / "loop.zip").symlink_to("loop.zip")
    shutil.copy(export, folder / os.fsdecode(b"b\xffd.zip"))
    (folder / "dead.zip").symlink_to("nowhere")
    (folder / "folder.zip").mkdir()
    shutil.copy(export, folder / "264.zip")
    watch.poll()
    assert watch.poll() == ("264",)
    notices = jobs.notices()
    assert [("b\\udcffd.zip" in text, "loop.zip" in text) for text in notices] == [
        (True, False),
        (False, True),
    ]
    assert all(text.isprintable() for text in notices)


def test_a_file_that_may_not_be_read_is_a_notice_until_it_may(
    jobs: Jobs, watch: Watch, folder: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def guarded(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == "secret.zip":  # whoever runs the tests as root may read everything
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    for name in ("264.zip", "secret.zip"):
        shutil.copy(export, folder / name)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", guarded)
        watch.poll()
        assert watch.poll() == ("264",)
        assert "secret.zip" in jobs.notices()[0]
        assert "Permission denied" in jobs.notices()[0]
    assert watch.poll() == ("secret",)
    assert watch.poll() == ()
    assert jobs.notices() == ()


def test_a_file_from_the_far_future_is_taken_up_once(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    shutil.copy(export, folder / "264.zip")
    os.utime(folder / "264.zip", (2**62, 2**62))
    assert stamp_of(folder / "264.zip")[1] < 2**63
    watch.poll()
    assert watch.poll() == ("264",)
    assert watch.poll() == ()


def test_an_error_of_ours_at_one_file_is_a_notice_and_stops_no_other(
    jobs: Jobs, watch: Watch, folder: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = jobs.receive_file

    def faulty(path: Path, stamp: tuple[int, int]) -> object:
        if path.name == "1.zip":
            raise ZeroDivisionError
        return real(path, stamp)

    monkeypatch.setattr(jobs, "receive_file", faulty)
    for name in ("1.zip", "264.zip"):
        shutil.copy(export, folder / name)
    watch.poll()
    assert watch.poll() == ("264",)
    assert watch.poll() == ()
    assert len(jobs.notices()) == 1
    assert "1.zip" in jobs.notices()[0]


def test_a_downloads_folder_that_cannot_be_made_is_refused_at_start(
    jobs: Jobs, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    jobs.settings = replace(jobs.settings, downloads_path=tmp_path / "file" / "downloads")
    with pytest.raises(SettingsError, match="DOWNLOADS_PATH"):
        Watch(jobs).start()


def test_a_downloads_folder_that_goes_bad_later_is_a_notice(
    jobs: Jobs, watch: Watch, folder: Path
) -> None:
    folder.rmdir()
    folder.write_text("")
    assert watch.poll() == ()
    assert "cannot be read" in jobs.notices()[0]
    folder.unlink()
    watch.poll()
    assert jobs.notices() == ()


def test_many_notices_are_cut_short_and_counted(jobs: Jobs, watch: Watch, folder: Path) -> None:
    (folder / "updates.txt").write_text("nonsense\n" * 1000)
    watch.poll()
    notices = jobs.notices()
    assert len(notices) == 21
    assert notices[-1] == "And 980 more."


def test_updates_txt_that_cannot_be_rewritten_is_a_notice_and_no_error(
    jobs: Jobs, watch: Watch, folder: Path, export: Path
) -> None:
    shutil.copy(export, folder / "5.zip")
    watch.poll()
    watch.poll()
    (folder / "updates.txt").mkdir()
    jobs.result_downloaded("5")
    assert any("could not be rewritten" in text for text in jobs.notices())
    watch.poll()
    (folder / "updates.txt").rmdir()
    jobs.result_downloaded("5")
    watch.poll()
    assert jobs.notices() == ()


def test_an_archive_that_takes_the_name_while_the_old_one_is_checked_is_not_deleted(
    settings: Settings, jobs: Jobs, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.downloads_path.mkdir(parents=True)
    archive = settings.downloads_path / "264.zip"
    archive.write_bytes(export.read_bytes())
    with archive.open("rb") as stream:
        jobs.receive("264.zip", stream)
    jobs.start_run("264", RunOptions(delete_zip=True))
    result = jobs.files.result("264", 1, 1)
    result.parent.mkdir(parents=True)
    result.write_bytes(b"published")
    with jobs.database.write() as session:
        done = {"state": "done", "delete_zip_due": True, "result_sha256": hash_file(result)}
        session.execute(update(Run).values(done))

    def another_comes(path: Path) -> str:
        found = hash_file(path)
        if path == archive:
            newer = path.with_name("newer.part")
            newer.write_bytes(b"another export")
            newer.replace(path)
        return found

    monkeypatch.setattr(tidy, "hash_file", another_comes)
    tidy.delete_archives(settings, jobs.database)
    assert archive.read_bytes() == b"another export"
    assert "was kept" in jobs.job("264").log[-1].text


def test_derived_files_are_kept_within_their_room(jobs: Jobs, folder: Path) -> None:
    path = jobs.derived.make(
        jobs.derived.path("264", "frames/1.jpg"), lambda file: file.write(b"x" * 100)
    )
    assert Watch(jobs).poll() == ()
    assert path.exists()
    jobs.settings = replace(jobs.settings, cache_bytes=99)
    assert Watch(jobs).poll() == ()
    assert not path.exists()
