"""Promise: into CVAT and back without files, and nobody's work is replaced without being asked.

Against cvat-sdk's own client and a server over real HTTP whose answers are the SDK's own models.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from cvat_io.shards import write_parts
from cvat_server.poll import Poll, Wanted
from cvat_server.pull import pull
from cvat_server.push import Way, push
from cvat_server.server import Server
from cvat_server.state import Memories
from cvat_server.target import read_target
from errors import ConflictError, InputError, NotFoundError
from tests.helpers.clips import masks_by_frame, tiny_clip
from tests.helpers.cvat_standin import TOKEN, Job, StandIn

JOB = read_target("264")


def pulled(connect, settings) -> Path:
    with connect() as server:
        return pull(server, JOB, settings)


def test_a_job_comes_into_the_downloads_folder_with_its_images(cvat, connect, settings) -> None:
    path = pulled(connect, settings)
    assert path == settings.downloads_path / "264.zip"
    with open_export(path, Limits()) as export:
        assert len(export.images) == 8
        assert {shape.frame for shape in export.tracks()} == {0, 5}
    assert [file.name for file in path.parent.iterdir()] == ["264.zip"]


def test_a_download_that_breaks_off_goes_on_where_it_was(cvat, connect, settings) -> None:
    cvat.broken = 1000
    with pytest.raises(InputError, match="broke off after 1000 of"):
        pulled(connect, settings)
    assert not (settings.downloads_path / "264.zip").exists()
    told = []
    with connect() as server:
        path = pull(server, JOB, settings, tell=lambda done, total: told.append((done, total)))
    assert cvat.ranges == ["bytes=1000-"]
    assert told[0][0] == 1000
    assert told[-1][0] == told[-1][1] == path.stat().st_size
    with open_export(path, Limits()) as export:
        assert len(export.images) == 8


def test_a_download_begins_anew_when_the_job_has_changed(cvat, connect, settings) -> None:
    cvat.broken = 1000
    with pytest.raises(InputError, match="broke off"):
        pulled(connect, settings)
    cvat.jobs[264].draw(3)
    path = pulled(connect, settings)
    assert cvat.ranges == []
    assert set(masks_by_frame(path)) == {0, 3, 5}


def test_a_job_that_is_saved_while_it_is_exported_is_exported_again(
    cvat, connect, settings
) -> None:
    def once(job: Job) -> None:
        cvat.on_export = lambda job: None
        job.draw(3)

    cvat.on_export = once
    assert set(masks_by_frame(pulled(connect, settings))) == {0, 3, 5}
    cvat.on_export = lambda job: job.draw(3)
    with pytest.raises(ConflictError, match="Somebody is changing job 264 right now"):
        pulled(connect, settings)


def test_a_result_is_added_and_touches_nothing_that_is_there(
    cvat, connect, settings, filled
) -> None:
    job = cvat.jobs[264]
    job.tags.append({"id": 1, "frame": 0, "label_id": 1, "group": 0, "attributes": []})
    result = filled(pulled(connect, settings))
    before = [dict(shape) for shape in job.shapes]
    with connect() as server:
        done = push(server, result, settings)
        assert (done.way, done.sent, done.masks) == (Way.APPEND, 12, 16)
        assert job.shapes[:4] == before
        assert len(job.tags) == 1
        assert sorted({shape["frame"] for shape in job.shapes}) == list(range(8))
        again = push(server, result, settings)
        assert again.way is Way.NOTHING
    assert [mode for mode, _ in cvat.imports] == ["append"]
    assert len(job.shapes) == 16


@pytest.mark.parametrize(("first", "step"), [(4, 1), (4, 3)])
def test_frames_are_the_same_where_a_task_has_several_jobs_and_a_step(
    cvat, connect, settings, filled, first: int, step: int
) -> None:
    job = cvat.jobs[264] = Job(tiny_clip(6), first=first, step=step)
    job.draw(0)
    result = filled(pulled(connect, settings))
    with connect() as server:
        assert push(server, result, settings).sent == 10
    assert sorted({shape["frame"] for shape in job.shapes}) == list(range(first, first + 6))


def test_what_others_did_meanwhile_is_not_replaced_unless_asked(
    cvat, connect, settings, filled
) -> None:
    result = filled(pulled(connect, settings))
    cvat.jobs[264].draw(3)
    with connect() as server:
        with pytest.raises(ConflictError, match="changed job 264 since it was pulled"):
            push(server, result, settings)
        assert cvat.imports == []
        done = push(server, result, settings, replace=True)
    assert done.way is Way.REPLACE
    assert len(cvat.jobs[264].shapes) == 16


def test_a_second_result_replaces_our_first_one_but_no_later_work(
    cvat, connect, settings, filled
) -> None:
    job = cvat.jobs[264]
    with connect() as server:
        push(server, filled(pulled(connect, settings)), settings)
        job.shapes = [shape for shape in job.shapes if shape["frame"] != 3]
        job.draw(3)  # a correction
        job.shapes = [s for s in job.shapes if s["source"] == "manual" and s["frame"] in (0, 3, 5)]
        corrected = filled(pulled(connect, settings))
        done = push(server, corrected, settings)
        assert done.way is Way.APPEND
        job.tags.append({"id": 9, "frame": 1, "label_id": 1, "group": 0, "attributes": []})
        job.changes += 1
        del job.shapes[-1]
        with pytest.raises(ConflictError, match="changed job 264"):
            push(server, corrected, settings)


def test_what_is_of_an_earlier_result_is_replaced_while_nobody_else_was_there(
    cvat, connect, settings, filled, tmp_path: Path
) -> None:
    """As after a re-segmentation: masks of the first result are not those of the second.

    The first one, which does not know the correction, never comes back unasked.
    """
    job = cvat.jobs[264]
    second = tmp_path / "second.zip"
    with connect() as server:
        first = filled(pulled(connect, settings))
        push(server, first, settings)
        with open_export(pull(server, JOB, settings), Limits()) as export:
            kept = [shape for shape in export.tracks() if shape.frame != 7]
            write_result(second, export, sorted(kept, key=lambda shape: shape.frame), {})
        job.tracks.append({"id": 3, "frame": 1, "label_id": 1, "shapes": []})
        with pytest.raises(ConflictError, match="changed job 264"):
            push(server, second, settings)
        job.tracks.clear()
        done = push(server, second, settings)
        assert (done.way, len(job.shapes)) == (Way.REPLACE, 14)
        with pytest.raises(ConflictError, match=r"corrections that 264\S*_result.zip does not"):
            push(server, first, settings)
        assert len(job.shapes) == 14
        assert push(server, second, settings).way is Way.NOTHING
        assert push(server, first, settings, replace=True).way is Way.REPLACE


def test_an_older_server_gets_what_is_missing_as_shapes(cvat, connect, settings, filled) -> None:
    cvat.version = "2.60.1"
    result = filled(pulled(connect, settings))
    told = []
    with connect() as server:
        done = push(server, result, settings, tell=lambda done, total: told.append((done, total)))
        assert (done.way, done.sent, done.masks) == (Way.SHAPES, 12, 16)
        assert push(server, result, settings).way is Way.NOTHING
    assert cvat.imports == []
    assert told == [(0, 12), (12, 12)]
    assert len(cvat.jobs[264].shapes) == 16
    assert {shape["type"] for shape in cvat.jobs[264].shapes} == {"mask"}


def test_on_an_older_server_too_nothing_that_is_there_is_touched(
    cvat, connect, settings, filled, tmp_path: Path
) -> None:
    cvat.version = "2.60.1"
    job = cvat.jobs[264]
    export = tmp_path / "264.zip"
    export.write_bytes(cvat.export(job, "job", True))
    result = filled(export)
    job.tracks.append({"id": 3, "frame": 1, "label_id": 1, "shapes": []})
    job.tags.append({"id": 1, "frame": 0, "label_id": 1, "group": 0, "attributes": []})
    before = [dict(shape) for shape in job.shapes]
    with connect() as server:
        assert push(server, result, settings).way is Way.SHAPES
    assert (len(job.tracks), len(job.tags), job.shapes[:4]) == (1, 1, before)


def test_tags_go_only_with_leave(cvat, connect, settings, filled, tmp_path: Path) -> None:
    cvat.jobs[264].tags.append({"id": 1, "frame": 0, "label_id": 1, "group": 0, "attributes": []})
    second = tmp_path / "second.zip"
    with connect() as server:
        push(server, filled(pulled(connect, settings)), settings)
        with open_export(pull(server, JOB, settings), Limits()) as export:
            kept = [shape for shape in export.tracks() if shape.frame != 7]
            write_result(second, export, sorted(kept, key=lambda shape: shape.frame), {})
        with pytest.raises(ConflictError, match="remove 1 tags of job 264"):
            push(server, second, settings)
    assert len(cvat.jobs[264].shapes) == 16


def test_an_export_made_by_hand_is_pushed_where_the_result_holds_all_that_is_there(
    cvat, connect, settings, filled, tmp_path: Path
) -> None:
    export = tmp_path / "264.zip"
    export.write_bytes(cvat.export(cvat.jobs[264], "job", True))
    result = filled(export)
    shapes = cvat.jobs[264].shapes
    shapes.append({**shapes[0], "frame": 2, "label_id": 3})
    with connect() as server:
        with pytest.raises(ConflictError, match="was not fetched with"):
            push(server, result, settings)
        del shapes[-1]
        assert push(server, result, settings).way is Way.APPEND


def test_a_result_goes_only_where_it_belongs(cvat, connect, settings, filled) -> None:
    cvat.jobs[265] = Job(tiny_clip(8), number=265)
    result = filled(pulled(connect, settings))
    with connect() as server:
        for other in ("265", "task-264"):
            with pytest.raises(InputError, match="is of job 264, not of"):
                push(server, result, settings, target=read_target(other))
        cvat.jobs[264].clip = tiny_clip(9)
        with pytest.raises(InputError, match="8 frames, but job 264 has 9"):
            push(server, result, settings)


def test_a_task_is_pulled_and_pushed_too(cvat, connect, settings, filled) -> None:
    task = read_target("task-264")
    with connect() as server:
        path = pull(server, task, settings)
        assert path.name == "task-264.zip"
        assert push(server, filled(path), settings, target=task).way is Way.APPEND
    assert len(cvat.jobs[264].shapes) == 16


def test_finished_jobs_are_pulled_by_themselves_once_and_never_our_own_push(
    cvat, connect, settings, filled
) -> None:
    heard, troubles = [], []
    cvat.jobs[265] = Job(tiny_clip(4), number=265)
    poll = Poll(
        settings, connect, Wanted(state="completed"),
        on_pulled=lambda target, path: heard.append((str(target), path.name)),
        on_trouble=troubles.append,
    )  # fmt: skip
    assert poll.look() == []
    cvat.jobs[264].state = "completed"
    assert poll.look() == [JOB]
    assert poll.look() == []
    with connect() as server:
        push(server, filled(settings.downloads_path / "264.zip"), settings)
    assert poll.look() == []
    cvat.jobs[264].draw(2)
    assert poll.look() == [JOB]
    assert heard == [("job 264", "264.zip")] * 2
    assert troubles == []


def test_what_goes_wrong_is_one_sentence_without_the_token(
    cvat, settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sentences = []

    def refused(settings, name: str = "264", error: type = InputError) -> str:
        with pytest.raises(error) as caught, Server(settings, status_seconds=0.01) as server:
            pull(server, read_target(name), settings)
        sentences.append(str(caught.value))
        return sentences[-1]

    assert "no job 999" in refused(settings, "999", NotFoundError)
    assert "does not accept CVAT_TOKEN" in refused(replace(settings, cvat_token="wrong"))
    assert "does not answer" in refused(replace(settings, cvat_url="http://127.0.0.1:9"))
    assert "CVAT_TOKEN is not set" in refused(replace(settings, cvat_token=""))
    assert "neither a job nor a task" in refused(settings, "../264")
    for cvat.status, sentence in ((403, "may not do that"), (500, "trouble"), (503, "trouble")):
        assert sentence in refused(settings)
    cvat.status, cvat.failure = 0, "No space left on the server"
    assert "could not do it for job 264: No space left" in refused(settings)
    cvat.version = "2.40.0"
    assert "must be 2.48 or newer" in refused(settings)
    cvat.version = "hello"
    assert "is no CVAT server" in refused(settings)
    assert all(TOKEN not in text and "\n" not in text for text in sentences)
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(settings)


def test_a_server_that_leads_elsewhere_is_not_followed_with_the_token(
    cvat, connect, settings
) -> None:
    other = StandIn()
    try:
        cvat.leads_to = other.url
        with pytest.raises(InputError, match=f"leads on to {other.url}: give that address"):
            connect()
        assert all("Authorization" not in headers for _, _, headers in other.asked)
    finally:
        other.close()


def test_an_import_that_cvat_refuses_leaves_the_job_as_it_was(
    cvat, connect, settings, filled
) -> None:
    result = filled(pulled(connect, settings))
    before = [dict(shape) for shape in cvat.jobs[264].shapes]
    cvat.failure = "Unknown frame"
    with connect() as server, pytest.raises(InputError, match="job 264: Unknown frame"):
        push(server, result, settings)
    assert cvat.jobs[264].shapes == before
    cvat.failure = ""
    with connect() as server:
        assert push(server, result, settings).sent == 12


def test_a_job_that_cannot_be_pulled_is_said_once_and_stops_no_other(
    cvat, connect, settings
) -> None:
    troubles = []
    cvat.jobs[1] = Job(tiny_clip(4), number=1, state="completed")
    cvat.jobs[264].state = "completed"
    cvat.on_export = lambda job: job.draw(3) if job.number == 1 else None
    poll = Poll(settings, connect, on_trouble=troubles.append)
    assert poll.look() == [JOB]
    assert poll.look() == []
    assert [text.split(":")[0] for text in troubles] == ["job 1", "job 1"][: len(troubles)]
    assert len(troubles) >= 1


def test_an_archive_beyond_the_limit_is_not_fetched(cvat, connect, settings) -> None:
    small = replace(settings, limits=Limits(archive_bytes=1000))
    with connect() as server, pytest.raises(InputError, match="more than the limit of 1000"):
        pull(server, JOB, small)


def test_the_token_is_a_header_for_the_one_host_and_in_no_address(
    cvat, connect, settings, filled
) -> None:
    """The server names the host cvat.invalid for uploads and downloads: nobody goes there."""
    with connect() as server:
        push(server, filled(pull(server, JOB, settings)), settings)
    assert all(TOKEN not in path for _, path, _ in cvat.asked)
    assert all(headers["Host"] in cvat.url for _, _, headers in cvat.asked)
    for file in (settings.data_dir / "cvat").rglob("*.json"):
        assert TOKEN not in file.read_text()
    assert Memories(settings).read(JOB).pushed


def test_a_part_is_no_result_but_all_parts_one_after_the_other_are(
    cvat, connect, settings, filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_io.shards._MEGABYTE", 4_000)  # so that a small clip has parts
    result = filled(pulled(connect, settings))
    with open_export(result, settings.limits) as opened:
        parts = write_parts(tmp_path / "parts", opened, 1)
    assert len(parts) > 2
    with connect() as server:
        with pytest.raises(InputError, match="is part 2 of a result"):
            push(server, parts[1].path, settings)
        assert cvat.imports == []
        for number, part in enumerate(parts):  # as docs/howto/polygons-and-parts.md says
            server.entity(JOB).import_annotations(
                "CVAT 1.1", part.path, import_mode="append" if number else "replace"
            )
        assert push(server, result, settings).way is Way.NOTHING
    assert len(cvat.jobs[264].shapes) == 16


def test_a_part_of_an_export_that_is_no_result_does_not_replace_the_rest(
    cvat, connect, settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvat_io.shards._MEGABYTE", 1_000)
    with open_export(pulled(connect, settings), settings.limits) as opened:
        assert not opened.comment
        parts = write_parts(tmp_path / "parts", opened, 1)
    assert len(parts) == 2
    with connect() as server, pytest.raises(InputError, match="is part 1 of a result"):
        push(server, parts[0].path, settings)
    assert cvat.imports == []
    assert len(cvat.jobs[264].shapes) == 4
