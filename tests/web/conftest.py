"""A real application on SQLite in a folder of its own, and small exports to feed it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import server
from config import Settings
from tests.web.kit import KEY_TEXT, MakeExport, export_bytes
from tests.web.pieces import large_export
from web.context import KEY


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path / "data", downloads_path=tmp_path / "downloads", engine="flow"
    )


@pytest.fixture
def make_app() -> Iterator[Callable[[Settings], Flask]]:
    """Builds applications, and closes their databases and brokers in the end."""
    apps: list[Flask] = []

    def make(settings: Settings) -> Flask:
        app = server.create_app(settings)
        app.testing = False  # errors are answered as in the real server
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.extensions[KEY].jobs.close()


@pytest.fixture
def app(settings: Settings, make_app: Callable[[Settings], Flask]) -> Flask:
    return make_app(settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def guarded(settings: Settings, make_app: Callable[[Settings], Flask]) -> FlaskClient:
    """A client of a server that has a key."""
    return make_app(replace(settings, agent_key=KEY_TEXT)).test_client()


@pytest.fixture
def make_export(tmp_path: Path) -> MakeExport:
    """Returns an export's bytes: six frames, masks on the given key frames."""

    def make(
        keys: tuple[int, ...] = (0, 5),
        *,
        shift: int = 0,
        images: bool = True,
        unused: tuple[str, ...] = (),
    ) -> bytes:
        path = tmp_path / "made.zip"
        return export_bytes(path, keys, shift=shift, images=images, unused=unused)

    return make


@pytest.fixture
def large(tmp_path: Path) -> bytes:
    """An export of 4.5 MB."""
    return large_export(tmp_path / "large.zip").read_bytes()
