"""Promise: what goes in as shapes goes in whole and once, however often the line breaks.

The server checks each request by the SDK's models and by its own rules.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from config import Limits
from cvat_io.reader import open_export
from cvat_io.result import write_result
from cvat_server import push as pushing
from cvat_server import shapes
from cvat_server.poll import Poll
from cvat_server.pull import pull
from cvat_server.push import Way, push
from cvat_server.state import Memories
from cvat_server.target import read_target
from errors import ConflictError, InputError
from tests.helpers.clips import tiny_clip
from tests.helpers.cvat_standin import Job

JOB = read_target("264")


@pytest.fixture
def old(cvat, monkeypatch: pytest.MonkeyPatch):
    """A server whose imports cannot add; five masks are a batch."""
    cvat.version = "2.60.1"
    monkeypatch.setattr(shapes, "MOST_SHAPES", 5)
    return cvat


def pixels(job: Job) -> list[tuple[object, ...]]:
    return sorted((s["frame"], s["label_id"], *s["points"]) for s in job.shapes)


def result_of(connect, settings, filled) -> Path:
    with connect() as server:
        return filled(pull(server, JOB, settings))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_push_that_broke_off_goes_on_and_sends_nothing_twice(
    old, connect, settings, filled, batch: int, after: bool
) -> None:
    """Whether the batch arrived, unheard, or not."""
    job = old.jobs[264]
    result = result_of(connect, settings, filled)
    old.dies_at, old.dies_after = batch, after
    with connect() as server:
        with pytest.raises(InputError, match=f"has {5 * (batch - 1)} of 12 masks so far") as broken:
            push(server, result, settings)
        assert "the rest goes in when you push again" in str(broken.value)
        there = len(job.shapes)
        assert there == 4 + min(12, 5 * (batch - 1 + after))
        done = push(server, result, settings)
        assert done.sent == 16 - there
        assert done.way is (Way.SHAPES if done.sent else Way.NOTHING)
        assert len(job.shapes) == len(set(pixels(job))) == 16
        memory = Memories(settings).read(JOB)
        assert memory.pushed
        assert memory.sending is None
        assert push(server, result, settings).way is Way.NOTHING


def test_what_somebody_saves_after_the_line_broke_is_not_passed_over(
    old, connect, settings, filled
) -> None:
    result = result_of(connect, settings, filled)
    old.dies_at = 2
    with connect() as server:
        with pytest.raises(InputError, match="5 of 12"):
            push(server, result, settings)
        old.jobs[264].tags.append({"id": 1, "frame": 0, "label_id": 1, "group": 0})
        with pytest.raises(ConflictError, match="Somebody has changed job 264"):
            push(server, result, settings)
        assert len(old.jobs[264].shapes) == 9


def test_half_a_result_is_replaced_by_another_one_of_the_same_export(
    old, connect, settings, filled, tmp_path: Path
) -> None:
    result = result_of(connect, settings, filled)
    old.dies_at = 3
    other = tmp_path / "other.zip"
    with open_export(result, Limits()) as export:
        kept = [shape for shape in export.tracks() if shape.frame not in (1, 2)]
        write_result(other, export, sorted(kept, key=lambda shape: shape.frame), {})
    with connect() as server:
        with pytest.raises(InputError, match="10 of 12"):
            push(server, result, settings)
        assert push(server, other, settings).way is Way.REPLACE
    assert {shape["frame"] for shape in old.jobs[264].shapes} == {0, 3, 4, 5, 6, 7}
    assert Memories(settings).read(JOB).sending is None


def test_half_a_result_that_a_person_pulls_can_be_built_on(old, connect, settings, filled) -> None:
    result = result_of(connect, settings, filled)
    old.dies_at = 2
    with connect() as server:
        with pytest.raises(InputError, match="5 of 12"):
            push(server, result, settings)
        anew = filled(pull(server, JOB, settings, unfinished=True))
        done = push(server, anew, settings)
        assert done.sent == done.masks - 9
        assert Memories(settings).read(JOB).sending is None
        assert push(server, anew, settings).way is Way.NOTHING
    assert len(old.jobs[264].shapes) == len(set(pixels(old.jobs[264]))) == done.masks


def test_what_somebody_changes_in_half_a_result_that_was_pulled_is_not_passed_over(
    old, connect, settings, filled
) -> None:
    result = result_of(connect, settings, filled)
    old.dies_at = 2
    with connect() as server:
        with pytest.raises(InputError, match="5 of 12"):
            push(server, result, settings)
        anew = filled(pull(server, JOB, settings, unfinished=True))
        del old.jobs[264].shapes[-1]  # a mask of ours that a person took away
        with pytest.raises(ConflictError, match="Somebody has changed job 264"):
            push(server, anew, settings)
    assert len(old.jobs[264].shapes) == 8


@pytest.mark.parametrize(
    ("pushed", "pulled"), [("264", "264"), ("264", "task-1"), ("task-1", "264")]
)
def test_half_a_result_is_not_pulled_unasked(
    old, connect, settings, filled, pushed: str, pulled: str
) -> None:
    """Also where the push was to the job's task, or to a job of the task."""
    old.jobs[1] = old.jobs[264]
    one, other = read_target(pushed), read_target(pulled)
    with connect() as server:
        old.jobs[1].number = one.number
        result = filled(pull(server, one, settings))
        old.dies_at = 2
        with pytest.raises(InputError, match="5 of 12"):
            push(server, result, settings)
        old.jobs[1].number = other.number
        with pytest.raises(ConflictError) as refused:
            pull(server, other, settings)
        assert f"A push of ours to {one} is not finished, so that {other}" in str(refused.value)
        assert "or pull with --unfinished" in str(refused.value)
        assert pull(server, other, settings, unfinished=True).exists()
        old.jobs[1].number = one.number
        push(server, result, settings)
        old.jobs[1].number = other.number
        pull(server, other, settings)


def test_a_push_to_another_job_holds_up_no_pull(old, connect, settings, filled) -> None:
    """Nor does one to a job that is of another task, or gone."""
    result = result_of(connect, settings, filled)
    old.dies_at = 2
    old.jobs[7] = Job(tiny_clip(8), number=7)
    with connect() as server:
        with pytest.raises(InputError, match="5 of 12"):
            push(server, result, settings)
        pull(server, read_target("7"), settings)
        pull(server, read_target("task-7"), settings)
        del old.jobs[264]
        pull(server, read_target("task-7"), settings)


def test_half_a_result_is_not_pulled_by_itself(old, connect, settings, filled) -> None:
    result = result_of(connect, settings, filled)
    troubles: list[str] = []
    poll = Poll(settings, connect, on_trouble=troubles.append)
    old.jobs[264].state = "completed"
    old.dies_at = 2
    with connect() as server:
        with pytest.raises(InputError, match="5 of 12"):
            push(server, result, settings)
        assert poll.look() == []
        assert "job 264: A push of ours to job 264 is not finished" in troubles[0]
        push(server, result, settings)
    assert poll.look() == []
    assert len(troubles) == 1


def test_a_mask_keeps_what_cvat_keeps_beside_it(old, connect, settings, filled) -> None:
    """Attributes by the server's numbers; frames count from the task's first, without the step."""
    job = old.jobs[264] = Job(tiny_clip(6), first=4, step=3)
    job.draw(0)
    mine = {"occluded": True, "z_order": 2, "group": 7}
    result = result_of(connect, settings, filled)
    changed = result.with_name("changed.zip")
    told = []
    with open_export(result, Limits()) as export:
        made = list(export.tracks())
        place = next(i for i, s in enumerate(made) if s.frame > 12 and s.label == "object")
        values = (("track_id", "a"), ("gone", "b"))
        made[place] = replace(made[place], occluded=True, z_order=2, group_id=7, attributes=values)
        write_result(changed, export, made, {})
    with connect() as server:
        push(server, changed, settings, tell=lambda done, total: told.append((done, total)))
    assert told == [(0, 10), (5, 10), (10, 10)]
    (added,) = [shape for shape in job.shapes[2:] if shape["group"] == 7]
    assert {name: added[name] for name in mine} == mine
    assert added["frame"] == 4 + (made[place].frame - 12) // 3
    assert added["attributes"] == [{"spec_id": 11, "value": "a"}]
    assert {shape["source"] for shape in job.shapes[2:]} == {"auto"}
    assert {shape["frame"] for shape in job.shapes} == set(range(4, 10))


def test_a_result_larger_than_one_import_should_be_goes_in_as_shapes(
    cvat, connect, settings, filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = result_of(connect, settings, filled)
    monkeypatch.setattr(pushing, "MOST_IMPORTED", 11)
    with connect() as server:
        assert push(server, result, settings).way is Way.SHAPES
    assert cvat.imports == []
    assert len(cvat.jobs[264].shapes) == 16


def test_a_task_takes_shapes_too(old, connect, settings, filled) -> None:
    task = read_target("task-264")
    with connect() as server:
        done = push(server, filled(pull(server, task, settings)), settings, target=task)
    assert (done.way, done.sent) == (Way.SHAPES, 12)
    assert old.batches == [5, 5, 2]
