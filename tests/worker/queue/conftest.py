"""The queue itself, on both databases, without any file or engine behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config import Settings
from jobs.service import Jobs


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Either database; a broker that is not needed here."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return Settings(data_dir=tmp_path / "data", database_url=url)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    opened = Jobs(settings)
    yield opened
    opened.close()
