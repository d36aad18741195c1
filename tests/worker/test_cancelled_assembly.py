"""Promise: a run that is cancelled, or whose job is deleted, while its result is being written
gives no result, takes nothing else along, and can be retried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from jobs.db import open_database
from jobs.options import RunOptions
from jobs.service import Jobs
from jobs.views import JobState
from tests.helpers.clips import tiny_clip, write_clip
from tests.worker.loops import a_loop
from worker import assemble


@pytest.mark.parametrize("deleted", [False, True])
def test_what_is_cancelled_while_it_is_written_is_not_published(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    jobs, database = Jobs(settings), open_database(settings)
    clip = write_clip(tmp_path / "7.zip", tiny_clip(6), [0])
    for name in ("7.zip", "8.zip"):
        with clip.open("rb") as stream:
            jobs.receive(name, stream)
        jobs.start_run(name.removesuffix(".zip"), RunOptions(engine="flow"))

    write = assemble.write_result
    waiting: list[Callable[[str], object]] = [jobs.delete_job] if deleted else []
    waiting.append(jobs.cancel)

    def written(*given: Any, **named: Any) -> None:  # really writes; then a person steps in
        write(*given, **named)
        while waiting:
            waiting.pop()("7")

    monkeypatch.setattr(assemble, "write_result", written)
    loop = a_loop(settings, database)
    while loop.step():
        pass
    assert jobs.job("8").job.state is JobState.COMPLETED
    if deleted:
        assert not jobs.files.job("7").exists()
    else:
        job = jobs.job("7").job
        assert (job.state, job.results) == (JobState.FAILED, ())
        jobs.retry("7")
        while loop.step():
            pass
        assert jobs.result("7").read_bytes() == jobs.result("8").read_bytes()
    database.close()
    jobs.close()
