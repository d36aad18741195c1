"""Fixtures that all rooms share: settings in folders of their own, real databases and brokers."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import amqp
import psycopg
import pytest

from config import Settings
from jobs import broker
from jobs.db import Database
from jobs.queue import queue_name
from jobs.service import Jobs
from tests.helpers.clips import tiny_clip, write_clip

DATABASE_URL = os.environ.get("DATABASE_URL", "postgresql://root@127.0.0.1:5432/test")
BROKER_URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file goes first: else one of two processes ends with it while the other rests."""
    items.sort(key=lambda item: item.path.name != "test_clips.py")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that tests start must not find the services of whoever runs the tests.

    They use the engine that learns nothing: what engines do is tested in tests/tracker.
    """
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("BROKER_URL", raising=False)
    monkeypatch.setenv("ENGINE", "flow")


@pytest.fixture(autouse=True)
def no_broker_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Stops embedded brokers that a test started in its own folder."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        for lock in folder.rglob("broker/start.lock"):
            broker.stop(Settings(data_dir=lock.parents[1]))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """SQLite and the embedded broker, in a folder of its own."""
    return Settings(data_dir=tmp_path / "data", downloads_path=tmp_path / "downloads")


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    """The jobs of `settings`."""
    opened = Jobs(settings)
    yield opened
    opened.close()


@pytest.fixture
def database(jobs: Jobs) -> Database:
    """The database of `jobs`."""
    return jobs.database


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A schema of its own in a real PostgreSQL; dropped in the end."""
    url = _postgresql_without_driver(DATABASE_URL)
    require_service("PostgreSQL", url, 5432)
    schema = f"relay_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"')
    yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{schema}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA "{schema}" CASCADE')


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def either_url(request: pytest.FixtureRequest) -> str:
    """DATABASE_URL of each kind of database in turn: empty for SQLite, of `postgres_url`."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def rabbitmq() -> Iterator[Callable[[Settings], str]]:
    """Returns the URL of a real RabbitMQ for an installation, whose queue goes in the end."""
    require_service("RabbitMQ", BROKER_URL, 5672)
    installations: list[Settings] = []

    def use(settings: Settings) -> str:
        installations.append(settings)
        return BROKER_URL

    yield use
    parts = urlsplit(BROKER_URL)
    with amqp.Connection(
        f"{parts.hostname}:{parts.port or 5672}",
        userid=parts.username or "guest",
        password=parts.password or "guest",
        virtual_host=parts.path[1:] or "/",
    ) as connection:
        for settings in installations:
            connection.channel().queue_delete(queue_name(settings))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A small export of CVAT: 12 frames, two objects, key frames 0, 6 and 11."""
    return write_clip(tmp_path / "264.zip", tiny_clip(12), [0, 6, 11])


def require_service(name: str, url: str, port: int) -> None:
    """Skip the test where the service does not answer, fail it where it must."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or port), 2).close()
    except OSError as exc:
        text = f"{name} does not answer at {parts.hostname}:{parts.port or port} ({exc})"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(text)
        pytest.skip(text)


def _postgresql_without_driver(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
