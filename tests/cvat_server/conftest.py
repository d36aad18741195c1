"""A CVAT server of its own for every test, and settings that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config import Settings


@pytest.fixture
def cvat() -> Iterator[object]:
    from tests.helpers.clips import tiny_clip
    from tests.helpers.cvat_standin import Job, StandIn

    server = StandIn()
    server.jobs[264] = Job(tiny_clip(8))
    server.jobs[264].draw(0)
    server.jobs[264].draw(5)
    yield server
    server.close()


@pytest.fixture
def settings(settings: Settings, cvat: object) -> Settings:
    from tests.helpers.cvat_standin import TOKEN

    return replace(settings, cvat_url=cvat.url, cvat_token=TOKEN)


@pytest.fixture
def connect(settings: Settings) -> Callable[[], object]:
    from cvat_server.server import Server

    return lambda: Server(settings, status_seconds=0.01)


@pytest.fixture
def filled(settings: Settings, tmp_path: Path) -> Callable[[Path], Path]:
    """What a run makes of an export, by the engine that learns nothing."""

    def run(export: Path, **options: object) -> Path:
        from jobs.options import RunOptions
        from worker.local import track

        out = tmp_path / f"{export.stem}_result.zip"
        track(export, out, options=RunOptions(engine="flow"), settings=settings, device="cpu")
        return out

    return run
