"""A publisher on this machine, an empty MODEL_DIR, and a model that one gives to the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.publisher import Publisher, publishing
from tests.tracker.published.kit import CONTENT, SHA256, know
from tracker import downloads, models
from tracker.models import Model


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publishing(**{"net.pth": CONTENT}) as publisher:
        yield publisher


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MODEL_DIR, not yet made."""
    path = tmp_path / "models"
    monkeypatch.setattr(models, "_folder", path)
    return path


@pytest.fixture
def net(server: Publisher, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model whose hash and size are published."""
    one = Model(
        name="net",
        file="net.pth",
        source="https://example.org/zoo",
        url=f"{server.address}/net.pth",
        size=len(CONTENT),
        exact=True,
        sha256=SHA256,
        licence="MIT",
        best_for="tests",
    )
    know(monkeypatch, one)
    return one
