"""The queue itself, on both databases, without any file or engine behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Settings
from jobs.service import Jobs


@pytest.fixture
def settings(either_url: str, tmp_path: Path) -> Settings:
    """Either database; a broker that is not needed here."""
    return Settings(data_dir=tmp_path / "data", database_url=either_url)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    opened = Jobs(settings)
    yield opened
    opened.close()
