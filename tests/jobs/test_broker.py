"""Promise: one embedded broker per installation, started by whoever comes first, outliving it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kombu import Connection

from config import Settings
from jobs import broker
from jobs.queue import Waker, broker_url, queue_name

ROOT = Path(__file__).parents[2]
START_AND_WAIT = """
import sys, time
from pathlib import Path
from config import Settings
from jobs import broker
print(broker.ensure(Settings(data_dir=Path(sys.argv[1]))), flush=True)
time.sleep(600)
"""


def starter(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def server_pid(settings: Settings) -> int:
    with Connection(broker_url(settings)) as connection:
        info = connection.default_channel.client.info("server")
    return int(info["process_id"])


def test_the_broker_outlives_a_starter_that_is_killed(settings: Settings) -> None:
    process = starter(settings.data_dir)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert broker.answers(settings)
    assert Waker(settings).wake()


def test_many_starters_at_once_make_one_broker(settings: Settings) -> None:
    processes = [starter(settings.data_dir) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        process.kill()
        process.wait()
        process.stdout.close()
    log = (broker.folder(settings.data_dir) / "valkey.log").read_text()
    assert log.count("Ready to accept connections") == 1
    first = server_pid(settings)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: broker.ensure(settings), range(4)))
    assert server_pid(settings) == first


def test_a_wake_up_survives_the_broker_being_stopped_and_started(settings: Settings) -> None:
    assert Waker(settings).wake(2)
    broker.stop(settings)
    assert not broker.answers(settings)
    assert broker.ensure(settings)
    with Connection(broker_url(settings)) as connection:
        assert connection.default_channel.client.llen(queue_name(settings)) == 2


def test_the_server_keeps_an_append_only_file_and_listens_on_no_port(settings: Settings) -> None:
    broker.ensure(settings)
    with Connection(broker_url(settings)) as connection:
        client = connection.default_channel.client
        said = {
            key: client.config_get(key)[key]
            for key in ("appendonly", "appendfsync", "maxmemory-policy", "port")
        }
    assert said == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "port": "0",
    }


def test_a_long_data_dir_gets_a_short_private_socket(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / ("long" * 30) / "data")
    path = broker.socket_path(settings.data_dir)
    assert len(os.fsencode(path)) <= 100
    assert broker.ensure(settings)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert (broker.folder(settings.data_dir) / "appendonlydir").is_dir()
    broker.stop(settings)


def test_a_broker_that_nobody_uses_stops_by_itself(settings: Settings) -> None:
    home = broker.folder(settings.data_dir)
    home.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.broker", str(settings.data_dir), "0.2"],
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert not broker.answers(settings)


def test_a_broker_whose_folder_is_removed_goes_too(settings: Settings) -> None:
    assert broker.ensure(settings)
    pid = server_pid(settings)
    broker.socket_path(settings.data_dir).unlink()
    # The second start waits until the first server is gone: one append-only file, one writer.
    assert broker.ensure(settings)
    assert server_pid(settings) != pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_is_killed_is_started_again_with_what_it_held(settings: Settings) -> None:
    assert Waker(settings).wake(3)
    with Connection(broker_url(settings)) as connection:
        connection.default_channel.client.execute_command("WAITAOF", 1, 0, 5000)
    os.kill(server_pid(settings), signal.SIGKILL)
    assert broker.ensure(settings)
    with Connection(broker_url(settings)) as connection:
        assert connection.default_channel.client.llen(queue_name(settings)) == 3


def test_installations_that_share_a_broker_do_not_wake_one_another(tmp_path: Path) -> None:
    names = {
        queue_name(Settings(data_dir=tmp_path / name, broker_url="amqp://localhost//"))
        for name in ("one", "two")
    }
    names |= {
        queue_name(Settings(database_url=f"postgresql://localhost/{name}")) for name in ("a", "b")
    }
    assert len(names) == 4


def test_the_password_of_the_database_does_not_change_the_queue() -> None:
    assert queue_name(Settings(database_url="postgresql://u:one@h/d")) == queue_name(
        Settings(database_url="postgresql://u:two@h/d")
    )


@pytest.mark.parametrize("name", ["with a space", "it's", 'say "so"', "50% #1?"])
def test_the_broker_starts_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=tmp_path / name)
    assert Waker(settings).wake()
    assert (broker.folder(settings.data_dir) / "appendonlydir").is_dir()


def test_a_server_whose_supervisor_was_killed_gets_a_new_one_and_keeps_what_it_held(
    settings: Settings,
) -> None:
    assert Waker(settings).wake(2)
    before = server_pid(settings)
    lock = broker.folder(settings.data_dir) / "running.lock"
    with lock.open("ab") as file:
        os.kill(int(lock.read_text()), signal.SIGKILL)
        fcntl.flock(file, fcntl.LOCK_EX)  # had once it is dead
    assert broker.answers(settings)
    assert broker.ensure(settings)
    assert server_pid(settings) != before
    assert "bye bye" in (lock.parent / "valkey.log").read_text(), "the first one was ended"
    os.kill(int(lock.read_text()), 0)
    with Connection(broker_url(settings)) as connection:
        assert connection.default_channel.client.llen(queue_name(settings)) == 2


def test_a_second_broker_process_ends_at_once(settings: Settings) -> None:
    assert broker.ensure(settings)
    first = server_pid(settings)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.broker", str(settings.data_dir)],
        cwd=ROOT,
        timeout=60,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 1
    assert server_pid(settings) == first


def test_a_long_data_dir_means_one_socket_whatever_the_temp_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = tmp_path / ("long" * 30)
    first = broker.socket_path(data_dir)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert broker.socket_path(data_dir) == first


@pytest.mark.parametrize(
    "url",
    [
        "amqp://guest:wrong@127.0.0.1:5672//",
        "amqp://guest:guest@127.0.0.1:5672/no-such-host",
        "amqp://guest:guest@127.0.0.1:1//",
        "amqp://guest:guest@127.0.0.1:port//",
        "redis://127.0.0.1:1/0",
    ],
)
def test_a_broker_that_cannot_be_used_only_degrades(tmp_path: Path, url: str) -> None:
    waker = Waker(Settings(data_dir=tmp_path, broker_url=url))
    assert not waker.wake()
    assert waker.state().startswith("degraded: ")
    waker.close()
