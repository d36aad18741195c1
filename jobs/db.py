"""The database: SQLite beside the files by default, PostgreSQL by DATABASE_URL.

Every change happens in `Database.write()`, one short transaction, and writers take turns: on SQLite
by its write lock, taken at the beginning (BEGIN IMMEDIATE), on PostgreSQL by an advisory lock. So a
limit that counts rows holds exactly, no two writers can deadlock, and both databases behave alike.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Double, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

import migrations
from config import Settings
from errors import SettingsError

CONNECT_SECONDS = 5  # a PostgreSQL that does not answer for so long is away
BUSY_SECONDS = 30  # how long a writer waits for its turn
FROZEN_SECONDS = 15  # PostgreSQL ends a transaction whose process stopped in the middle of its turn
AWAY = (OperationalError, InterfaceError, InternalError)
"""What is raised while the database cannot be reached or cannot write: trying again may help."""

_LIMITS = {
    "connect_timeout": CONNECT_SECONDS,
    # A machine that went away without a word, or behind a cut cable: by default the system keeps
    # such a connection for a quarter of an hour, when idle for hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
_TURN = 0x6D61736B72656C61  # "maskrela": our number among PostgreSQL's advisory locks
_WRITE = "relay_write"
_POSTGRESQL = "postgresql+psycopg"  # the driver that we ship, whatever an address says


class db_now(FunctionElement[float]):  # noqa: N801 - used like a function
    """The database's own clock: leases must not depend on how well workers' clocks agree."""

    type = Double()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _now_sqlite(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _now_postgresql(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


class Database:
    """An engine with short read and write transactions. Safe to share between threads."""

    def __init__(self, url: URL) -> None:
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(**{_WRITE: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state (SQLite) or each statement's (PostgreSQL)."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One write transaction: committed at the end, rolled back by any exception."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            _take_turn(session.connection())
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def database_url(settings: Settings) -> URL:
    """Where the database of `settings` is (a file's name is taken as it is, "?" and "%" too)."""
    if settings.database_url:
        url = make_url(settings.database_url)
        return url if url.get_backend_name() == "sqlite" else url.set(drivername=_POSTGRESQL)
    return URL.create("sqlite", database=str(settings.data_dir / "relay.db"))


def open_database(settings: Settings) -> Database:
    """Open the database of `settings` and bring its tables up to date.

    Raises SettingsError when it cannot be reached or was made by a newer version.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise SettingsError(
            f"DATA_DIR={settings.data_dir} cannot be used ({exc.strerror}): give a folder that can "
            "be made and written to."
        ) from exc
    try:
        url = database_url(settings)
        database = Database(url)
    except (ArgumentError, ValueError, ImportError) as exc:
        # The address is not shown: where it cannot be read, its password cannot be left out.
        raise SettingsError(
            "DATABASE_URL is no address of a database: give "
            "postgresql://user:password@host:port/name or sqlite:////absolute/path.db."
        ) from exc
    try:
        upgrade(database.engine)
    except (SQLAlchemyError, sqlite3.Error, OSError, ValueError) as exc:
        database.close()
        cause = exc.orig if isinstance(exc, DBAPIError) else exc
        reason = (str(cause).splitlines() or ["no answer"])[0]
        shown = url.render_as_string(hide_password=True)
        raise SettingsError(
            f"The database {shown} cannot be used ({reason}): check DATABASE_URL and DATA_DIR."
        ) from exc
    except CommandError as exc:
        database.close()
        raise SettingsError(
            "The database was made by a newer version of Mask Relay: install that version, or set "
            "another DATABASE_URL or DATA_DIR."
        ) from exc
    return database


def upgrade(engine: Engine) -> None:
    """Bring the tables up to date. Any number of processes may call it at the same time.

    The whole upgrade is one write transaction; whoever comes second finds nothing left to do.
    """
    config = Config()
    # A "%" in the path would be read as an interpolation.
    folder = str(Path(next(iter(migrations.__path__)))).replace("%", "%%")
    config.set_main_option("script_location", folder)
    head = ScriptDirectory.from_config(config).get_current_head()
    if engine.dialect.name == "sqlite":
        _enter_wal(engine)
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == head:
            return
    with engine.execution_options(**{_WRITE: True}).begin() as connection:
        _take_turn(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        # An address may ask for other times.
        limits = {name: value for name, value in _LIMITS.items() if name not in url.query}
        engine = create_engine(
            url, connect_args=limits, pool_pre_ping=True, pool_size=5, max_overflow=20
        )
        event.listen(engine, "connect", _on_postgresql_connect)
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _take_turn(connection: Connection) -> None:
    """Wait until no other writer is at work (SQLite did so when the transaction began)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})


def _on_postgresql_connect(connection: Any, record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{FROZEN_SECONDS}s'")
    connection.commit()


def _on_sqlite_connect(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions on its own
    connection.execute("PRAGMA foreign_keys = ON")


def _on_sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _enter_wal(engine: Engine) -> None:
    """Switch the file to write-ahead logging, which stays: readers then never wait for a writer."""
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # The switch itself does not wait for a lock; behind a write lock it need not.
            cursor.execute("PRAGMA journal_mode = WAL")
    finally:
        raw.close()
