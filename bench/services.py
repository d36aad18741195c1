"""A PostgreSQL and a RabbitMQ of our own, to be killed and started again (Linux).

Both keep everything in a folder of their own under the temp folder until they are closed, listen on
the loopback address only, and need the programs that Debian installs. Nothing is shared with
services that run already.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import amqp
import psycopg

from bench.processes import Program, free_port, wait_for
from errors import InputError

_START_SECONDS = 120.0


class _Service:
    """What both have in common."""

    _name: str
    _program: Program
    _folder: Path

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        self._program.start()
        wait_for(self._answers, self._name, _START_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would, with all its connections."""
        self._program.kill()

    def close(self) -> None:
        """End it and remove its files."""
        self.kill()
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        raise NotImplementedError


class Postgres(_Service):
    """A PostgreSQL server with fsync on, as it is by default. `url` names a database in it."""

    _name = "PostgreSQL"

    def __init__(self) -> None:
        """Make its files; nothing runs yet. Raises InputError where it is not installed."""
        self._port = free_port()
        self.url = f"postgresql://relay@127.0.0.1:{self._port}/postgres"
        self._folder = folder = Path(tempfile.mkdtemp(prefix="relay-postgres-"))
        data = folder / "data"
        # It refuses to run as root.
        user = None
        if os.getuid() == 0:
            user = "postgres"
            _require("PostgreSQL's user postgres", _knows_user(user))
            shutil.chown(folder, user)
        initdb = [str(_postgres_program("initdb")), "-D", str(data), "-U", "relay"]
        subprocess.run(
            [*initdb, "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )
        server = [str(_postgres_program("postgres")), "-D", str(data), "-p", str(self._port)]
        self._program = Program(
            [*server, "-h", "127.0.0.1", "-k", str(folder)],
            log=folder / "postgres.log",
            user=user,
        )

    def new_database(self, name: str) -> str:
        """Make an empty database and return its address."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"{self.url.rpartition('/')[0]}/{name}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class RabbitMQ(_Service):
    """One RabbitMQ node without plugins. `url` is its address for BROKER_URL."""

    _name = "RabbitMQ"

    def __init__(self) -> None:
        """Prepare its files; nothing runs yet. Raises InputError where it is not installed."""
        program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # that in PATH changes the user
        _require("RabbitMQ's server", program.exists())
        port, distribution = free_port(), free_port()
        self._place = f"127.0.0.1:{port}"
        self.url = f"amqp://guest:guest@{self._place}//"
        self._folder = folder = Path(tempfile.mkdtemp(prefix="relay-rabbitmq-"))
        (folder / "plugins").write_text("[].\n")
        self._program = Program(
            [str(program)],
            log=folder / "rabbitmq.log",
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(folder),  # where the node's cookie is
                "RABBITMQ_NODENAME": f"relay-{port}@localhost",
                "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODE_PORT": str(port),
                "RABBITMQ_DIST_PORT": str(distribution),
                "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
                "RABBITMQ_LOG_BASE": str(folder / "log"),
                "RABBITMQ_PID_FILE": str(folder / "pid"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
                "RABBITMQ_CONF_ENV_FILE": os.devnull,
                "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            },
        )

    def _answers(self) -> bool:
        try:
            with amqp.Connection(self._place, connect_timeout=2):
                return True
        except (OSError, amqp.AMQPError):
            return False


def _postgres_program(name: str) -> Path:
    """A program of the newest PostgreSQL that is installed."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")  # Debian keeps them out of PATH
    newest = sorted(folders, key=lambda path: int(path.parent.name), reverse=True)
    found = [folder / name for folder in newest if (folder / name).exists()]
    if other := shutil.which(name):
        found.append(Path(other))
    _require(f"PostgreSQL's program {name}", bool(found))
    return found[0]


def _knows_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _require(what: str, there: bool) -> None:
    if not there:
        raise InputError(f"{what} is not on this machine: install postgresql and rabbitmq-server.")
