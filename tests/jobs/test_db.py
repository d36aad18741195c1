"""Promise: the database is made and brought up to date by whoever comes first, and by no other."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, select, text

from config import Settings
from errors import SettingsError
from jobs.db import Database, database_url, db_now, open_database, upgrade
from jobs.models import Base, Counter


@pytest.fixture
def fresh(either_url: str, tmp_path: Path) -> Settings:
    """An installation whose database has no tables yet."""
    return Settings(data_dir=tmp_path, database_url=either_url)


def test_the_migrations_build_exactly_the_tables_of_the_models(fresh: Settings) -> None:
    database = open_database(fresh)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


def test_processes_that_start_together_make_the_tables_once(fresh: Settings) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_upgrade, args=(database_url(fresh),)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    database = Database(database_url(fresh))
    with database.read() as session:
        assert session.scalars(select(Counter.name)).all() == ["changed"]
    database.close()


def _upgrade(url: URL) -> None:
    database = Database(url)
    upgrade(database.engine)
    database.close()


def test_a_database_of_a_newer_version_is_refused_with_a_sentence(fresh: Settings) -> None:
    database = open_database(fresh)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(SettingsError, match="newer version"):
        open_database(fresh)


def test_a_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://relay:very-secret@127.0.0.1:1/relay"
    with pytest.raises(SettingsError) as caught:
        open_database(Settings(data_dir=tmp_path, database_url=url))
    assert "127.0.0.1:1/relay" in str(caught.value)
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:very-secret@h:port/d",
        "postgresql://u:very-secret@[h/d",
        "sqlite+nothing:////tmp/x.db",
        "sqlite:////no/such/folder/x.db",
    ],
)
def test_a_bad_address_is_refused_with_a_sentence_without_its_password(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as caught:
        open_database(Settings(data_dir=tmp_path, database_url=url))
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100])
def test_a_file_that_is_no_database_or_damaged_is_refused_with_a_sentence(
    tmp_path: Path, keep: int
) -> None:
    settings = Settings(data_dir=tmp_path)
    open_database(settings).close()
    file = tmp_path / "relay.db"
    file.write_bytes(file.read_bytes()[:keep] + b"no database " * 2000)
    with pytest.raises(SettingsError, match=r"relay\.db cannot be used"):
        open_database(settings)


def test_a_write_that_fails_leaves_nothing(fresh: Settings) -> None:
    database = open_database(fresh)

    def write_half() -> None:
        with database.write() as session:
            session.add(Counter(name="half", value=1))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    with database.read() as session:
        assert session.get(Counter, "half") is None
    database.close()


def test_the_database_tells_the_time_in_seconds_since_the_epoch(fresh: Settings) -> None:
    database = open_database(fresh)
    with database.read() as session:
        first = session.scalars(select(db_now())).one()
        assert 1.7e9 < first < 1e11
    database.close()


def test_a_folder_with_odd_characters_holds_a_database(tmp_path: Path) -> None:
    folder = tmp_path / "50% of ünïcode & more?"
    open_database(Settings(data_dir=folder)).close()
    assert (folder / "relay.db").is_file()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg://u@h/d"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_database_addresses_are_given_the_driver_that_we_ship(
    tmp_path: Path, given: str, wanted: str
) -> None:
    url = database_url(Settings(data_dir=tmp_path, database_url=given))
    assert url.render_as_string(hide_password=False) == wanted
