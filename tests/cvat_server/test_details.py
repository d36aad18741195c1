"""Promise: what a result says of a mask beside its pixels (attributes, occluded, z-order) gets into
CVAT too, and nothing that a person has said since is taken back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import pytest

from config import Limits
from cvat_io.model import MaskShape
from cvat_io.reader import open_export
from cvat_io.result import write_result
from cvat_server import shapes
from cvat_server.poll import Poll
from cvat_server.pull import pull
from cvat_server.push import Way, push
from cvat_server.state import Memories
from cvat_server.target import read_target
from errors import ConflictError, InputError
from jobs.options import Mode, RunOptions
from tests.helpers.cvat_standin import Job
from tests.helpers.trips import key_frames
from worker.local import track

JOB = read_target("264")
NAMED = {"attributes": (("track_id", "7"),)}


def altered(result: Path, changes: Callable[[MaskShape], dict[str, Any]]) -> Path:
    """An archive with other details, as a result."""
    out = result.with_name("altered.zip")
    with open_export(result, Limits()) as export:
        made = [s for s in export.tracks() if isinstance(s, MaskShape)]
        write_result(out, export, [replace(shape, **changes(shape)) for shape in made], {})
    return out


def named(result: Path, *, first: int = 0) -> Path:
    """The object has a name, from a frame on."""
    return altered(result, lambda s: NAMED if s.label == "object" and s.frame >= first else {})


def names(job: Job) -> list[tuple[int, str]]:
    mine = [shape for shape in job.shapes if shape["label_id"] == 1]
    return sorted((s["frame"], "".join(a["value"] for a in s["attributes"])) for s in mine)


def say(job: Job, frame: int, name: str) -> None:
    """A person names the object on a frame, and saves."""
    for shape in job.shapes:
        if (shape["frame"], shape["label_id"]) == (frame, 1):
            shape["attributes"] = [{"spec_id": 11, "value": name}]
    job.changes += 1


def plain(job: Job) -> list[dict[str, Any]]:
    """All shapes without their details."""
    rest = ("attributes", "occluded", "z_order")
    found = [{k: v for k, v in shape.items() if k not in rest} for shape in job.shapes]
    return sorted(found, key=lambda shape: shape["id"])


@pytest.fixture
def first(cvat, connect, settings, filled) -> Path:
    """The first result, which is in the job; a tag, a track and a group are there that stay."""
    job = cvat.jobs[264]
    job.tags.append({"id": 1, "frame": 0, "label_id": 1, "group": 0, "attributes": []})
    job.tracks.append({"id": 3, "frame": 1, "label_id": 1, "shapes": []})
    job.shapes = [shape for shape in job.shapes if shape["frame"] == 0]
    job.shapes[0]["group"] = 5
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        done = push(server, result, settings)
    assert (done.way, done.sent, done.changed, done.left) == (Way.APPEND, 14, 0, "")
    return result


def test_a_name_that_a_person_gave_is_on_all_masks_of_the_object_after_the_round(
    cvat, connect, settings, first, tmp_path: Path
) -> None:
    job = cvat.jobs[264]
    say(job, 0, "7")
    before, tracked = plain(job), tmp_path / "second.zip"

    def again(out: Path, previous: Path) -> int:
        with connect() as server:
            export = pull(server, JOB, settings)
        options = RunOptions(engine="flow", mode=Mode.RESEGMENT)
        report = track(
            export, out, options=options, settings=settings, previous=previous, device="cpu"
        )
        return report["frames_tracked"]

    assert again(tracked, first)
    with connect() as server:
        done = push(server, tracked, settings)
        assert (done.way, done.sent, done.changed) == (Way.UPDATE, 0, 7)
        assert names(job) == [(frame, "7") for frame in range(8)]
        assert (plain(job), len(job.tags), len(job.tracks)) == (before, 1, 1)
        assert [mode for mode, _ in cvat.imports] == ["append"]
        assert push(server, tracked, settings).way is Way.NOTHING
    job.state = "completed"
    assert Poll(settings, connect).look() == []  # our own push is no change
    third = tmp_path / "third.zip"
    assert again(third, tracked) == 0
    assert key_frames(third) == [0]


@pytest.mark.parametrize("details", [NAMED, {"occluded": True}, {"z_order": 3}])
def test_each_of_them_is_carried_where_it_alone_differs(
    cvat, connect, settings, first, details: dict[str, Any]
) -> None:
    job = cvat.jobs[264]
    before = plain(job)
    second = altered(first, lambda s: details if (s.frame, s.label) == (3, "object") else {})
    with connect() as server:
        done = push(server, second, settings)
        assert (done.way, done.changed) == (Way.UPDATE, 1)
        assert push(server, first, settings).changed == 1
        assert push(server, second, settings).changed == 1
    (shape,) = [s for s in job.shapes if (s["frame"], s["label_id"]) == (3, 1)]
    said = {"attributes": [{"spec_id": 11, "value": "7"}]} if details == NAMED else details
    assert {name: shape[name] for name in said} == said
    assert plain(job) == before


@pytest.mark.parametrize("version", ["2.80.0", "2.60.1"])
def test_masks_are_added_and_others_changed_in_one_push(
    cvat, connect, settings, filled, version: str
) -> None:
    cvat.version = version
    job = cvat.jobs[264]
    with connect() as server:
        done = push(server, named(filled(pull(server, JOB, settings))), settings)
        assert (done.sent, done.changed, done.left) == (12, 2, "")
        assert Memories(settings).read(JOB).sending is None
    assert names(job) == [(frame, "7") for frame in range(8)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_line_that_breaks_between_changes_loses_none(
    cvat, connect, settings, first, monkeypatch: pytest.MonkeyPatch, batch: int, after: bool
) -> None:
    monkeypatch.setattr(shapes, "MOST_SHAPES", 3)
    job = cvat.jobs[264]
    cvat.dies_at, cvat.dies_after = batch, after
    before, far = plain(job), 3 * (batch - 1)
    with connect() as server:
        with pytest.raises(InputError, match=f"{far} of 8 masks of job 264 are changed so far"):
            push(server, named(first), settings)
        with pytest.raises(ConflictError, match="A push of ours to job 264 is not finished"):
            pull(server, JOB, settings)
        assert push(server, named(first), settings).changed == 8 - min(8, 3 * (batch - 1 + after))
        assert names(job) == [(frame, "7") for frame in range(8)]
        assert plain(job) == before
        memory = Memories(settings).read(JOB)
        assert memory.sending is None
        assert memory.pushed_of
        assert push(server, first, settings).changed == 8  # that of the same export is still known


def test_what_a_person_says_after_the_line_broke_is_not_taken_back(
    cvat, connect, settings, first, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "MOST_SHAPES", 3)
    job = cvat.jobs[264]
    cvat.dies_at = 2
    with connect() as server:
        with pytest.raises(InputError, match="3 of 8"):
            push(server, named(first), settings)
        (changed, *_), (waiting, *_) = (
            [frame for frame, name in names(job) if name == said] for said in ("7", "")
        )
        say(job, changed, "8")
        say(job, waiting, "9")
        said = names(job)
        done = push(server, named(first), settings)
        assert (done.way, done.changed) == (Way.NOTHING, 0)
        assert done.left.startswith("6 masks have other attributes, occluded or z-order there")
        assert names(job) == said
        assert Memories(settings).read(JOB).sending is None


def test_a_mask_that_a_person_takes_away_after_the_line_broke_does_not_come_back(
    cvat, connect, settings, first, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "MOST_SHAPES", 3)
    job = cvat.jobs[264]
    cvat.dies_at = 2
    with connect() as server:
        with pytest.raises(InputError, match="3 of 8"):
            push(server, named(first), settings)
        job.shapes = [s for s in job.shapes if (s["frame"], s["label_id"]) != (3, 1)]
        with pytest.raises(ConflictError, match="Somebody has changed job 264"):
            push(server, named(first), settings)


def test_what_a_person_says_of_half_a_result_is_not_taken_back(
    cvat, connect, settings, filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "MOST_SHAPES", 5)
    cvat.version, cvat.dies_at = "2.60.1", 2
    job = cvat.jobs[264]
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        with pytest.raises(InputError, match="5 of 12"):
            push(server, result, settings)
        say(job, 1, "8")
        done = push(server, result, settings)
        assert (done.sent, done.changed, done.left[:8]) == (7, 0, "1 masks ")
        assert (1, "8") in names(job)
        assert push(server, result, settings).changed == 0
    job.state = "completed"
    assert Poll(settings, connect).look() == [JOB]
    assert (1, "8") in names(job)


def test_what_people_said_since_is_left_and_told_of(cvat, connect, settings, first) -> None:
    """Also where the result is that of an export before the one that our last push was made of."""
    job = cvat.jobs[264]
    say(job, 2, "9")
    said = names(job)
    with connect() as server:
        done = push(server, named(first), settings)
        assert (done.way, done.changed, done.left) == (
            Way.NOTHING, 0,
            "8 masks have other attributes, occluded or z-order there than in the result, and were "
            "left so: people may have changed them since its export, so pull it and run again.",
        )  # fmt: skip
        assert names(job) == said
        second = named(pull(server, JOB, settings), first=6)
        assert push(server, second, settings).changed == 2
        done = push(server, first, settings)
        assert (done.way, done.changed, done.left[:8]) == (Way.NOTHING, 0, "3 masks ")
    assert (2, "9") in names(job)
    assert (7, "7") in names(job)


def test_of_an_export_made_by_hand_nothing_is_changed(
    cvat, connect, settings, filled, tmp_path: Path
) -> None:
    job = cvat.jobs[264]
    export = tmp_path / "264.zip"
    export.write_bytes(cvat.export(job, "job", True))
    say(job, 0, "9")
    result = filled(export)
    with connect() as server:
        for sent in (12, 0):
            done = push(server, result, settings)
            assert (done.sent, done.changed, done.left[:8]) == (sent, 0, "1 masks ")
    assert (0, "9") in names(job)


def test_masks_of_a_task_whose_jobs_overlap_are_left(
    cvat, connect, settings, filled, tmp_path: Path
) -> None:
    """CVAT gives such a mask one number, and would store it in both jobs."""
    task = read_target("task-264")
    overlapping = tmp_path / "task-264.zip"
    with connect() as server:
        with ZipFile(pull(server, task, settings)) as old, ZipFile(overlapping, "w") as new:
            for info in old.infolist():
                data = old.read(info)
                if info.filename == "annotations.xml":
                    data = data.replace(b"<overlap>0<", b"<overlap>2<")
                    data = re.sub(rb"<segment>.*</segment>", rb"\g<0>\g<0>", data, flags=re.DOTALL)
                new.writestr(ZipInfo(info.filename), data)
        done = push(server, named(filled(overlapping)), settings)
        assert (done.sent, done.changed) == (12, 0)
        assert "2 masks have other attributes" in done.left
        assert "overlap, so pull and push them one by one." in done.left


def test_two_masks_that_differ_in_these_alone_are_left(cvat, connect, settings, first) -> None:
    job = cvat.jobs[264]
    twin = next(shape for shape in job.shapes if (shape["frame"], shape["label_id"]) == (3, 1))
    job.shapes.append({**twin, "id": job.unused, "z_order": 4})
    with connect() as server:
        second = named(pull(server, JOB, settings))
        before = [dict(shape) for shape in job.shapes]
        assert push(server, second, settings).changed == 7
    changed = [s for s in job.shapes if s not in before]
    assert {shape["frame"] for shape in changed} == {0, 1, 2, 4, 5, 6, 7}


def test_what_somebody_says_while_an_import_goes_on_is_pulled(
    cvat, connect, settings, filled
) -> None:
    job, take = cvat.jobs[264], cvat.take

    def meanwhile(job: Job, data: bytes, mode: str) -> None:
        take(job, data, mode)
        say(job, 0, "9")

    cvat.take = meanwhile
    with connect() as server:
        result = filled(pull(server, JOB, settings))
        assert push(server, result, settings).way is Way.APPEND
        done = push(server, result, settings)
        assert (done.way, done.changed, done.left[:8]) == (Way.NOTHING, 0, "1 masks ")
    job.state = "completed"
    assert Poll(settings, connect).look() == [JOB]
