"""Promise: real servers keep what arrived, whatever breaks: connections, servers, disks."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from config import Settings
from jobs.models import PartialUpload
from jobs.uploads import KEPT_SECONDS
from tests.web.kit import MakeExport
from tests.web.pieces import (
    PIECE,
    TUS,
    create,
    export_of,
    large_export,
    metadata,
    offset,
    patch,
)
from tests.web.test_serving import MIB, MODES, NO_BROKER, Running, peak, running
from web.context import KEY


@pytest.fixture(scope="module", params=MODES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, folder, BROKER_URL=NO_BROKER) as started:
        yield started


class Talk:
    """One server spoken to over sockets of our own."""

    def __init__(self, server: Running) -> None:
        self.server = server

    def begin(self, data: bytes, name: str) -> str:
        head = TUS | {"Upload-Length": str(len(data)), "Upload-Metadata": metadata(name)}
        return self.ask("POST", "/api/uploads", head)[1]["location"]

    def ask(
        self, method: str, path: str, head: dict[str, str], body: bytes = b""
    ) -> tuple[int, dict[str, str]]:
        with self.opened(method, path, head, len(body)) as connection:
            connection.sendall(body)
            return answered(connection)

    def offset(self, place: str) -> int:
        return int(self.ask("HEAD", place, TUS)[1]["upload-offset"])

    def until(self, place: str, offset: int) -> None:
        """Wait until so many bytes are there."""
        while self.offset(place) < offset:
            time.sleep(0.01)

    @contextmanager
    def opened(
        self, method: str, path: str, head: dict[str, str], length: int
    ) -> Iterator[socket.socket]:
        """A request whose body is still to be sent."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        lines += [f"Content-Length: {length}"]
        with socket.create_connection(("127.0.0.1", self.server.port), 60) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            yield connection

    def piece(self, place: str, offset: int, data: bytes) -> tuple[int, dict[str, str]]:
        return self.ask("PATCH", place, PIECE | {"Upload-Offset": str(offset)}, data)

    @contextmanager
    def half(self, place: str, offset: int, data: bytes, length: int) -> Iterator[socket.socket]:
        """A piece of which only `data` was sent and has arrived."""
        head = PIECE | {"Upload-Offset": str(offset)}
        with self.opened("PATCH", place, head, length) as connection:
            connection.sendall(data)
            yield connection


def answered(connection: socket.socket) -> tuple[int, dict[str, str]]:
    said = b""
    while b"\r\n\r\n" not in said and (more := connection.recv(65536)):
        said += more
    lines = said.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines[1:])
    return int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}


def test_a_cut_connection_keeps_what_arrived_and_the_upload_goes_on(
    server: Running, large: bytes
) -> None:
    talk, data = Talk(server), large
    place = talk.begin(data, "cut.zip")
    with talk.half(place, 0, data[:MIB], len(data)) as connection:
        connection.shutdown(socket.SHUT_WR)
        answered(connection)
    assert talk.offset(place) == MIB
    with talk.half(place, MIB, data[MIB : 2 * MIB], len(data) - MIB) as connection:
        talk.until(place, 2 * MIB - (1 << 18))  # a piece of the last read may be on its way
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    at = settled_offset(talk, place)  # closed with a reset
    assert MIB < at <= 2 * MIB
    status, head = talk.piece(place, at, data[at:])
    assert (status, head["upload-job"]) == (204, "cut")
    assert export_of(server.data_dir, "cut", 1) == data


def settled_offset(talk: Talk, place: str) -> int:
    """How far an upload came once nobody sends to it any more."""
    while True:
        at = talk.offset(place)
        if talk.piece(place, at, b"")[0] == 204:
            return at
        time.sleep(0.01)


def test_a_second_connection_to_an_upload_is_refused_while_the_first_one_sends(
    server: Running, large: bytes
) -> None:
    talk, data = Talk(server), large
    place = talk.begin(data, "busy.zip")
    with talk.half(place, 0, data[: MIB // 2], len(data)) as connection:
        talk.until(place, MIB // 4)
        at = talk.offset(place)
        assert talk.piece(place, at, b"x" * (len(data) - at))[0] == 423
        assert talk.ask("DELETE", place, TUS)[0] == 423
        connection.sendall(data[MIB // 2 :])
        status, head = answered(connection)
    assert (status, head["upload-job"]) == (204, "busy")
    assert export_of(server.data_dir, "busy", 1) == data


def test_two_servers_of_one_folder_do_not_write_to_one_upload_at_once(
    tmp_path: Path, large: bytes
) -> None:
    data = large
    with (
        running("threading", tmp_path, BROKER_URL=NO_BROKER) as one,
        running("threading", tmp_path, BROKER_URL=NO_BROKER) as two,
    ):
        first, second = Talk(one), Talk(two)
        place = first.begin(data, "264.zip")
        with first.half(place, 0, data[: MIB // 2], len(data)) as connection:
            second.until(place, MIB // 4)
            at = second.offset(place)
            assert second.piece(place, at, b"x" * (len(data) - at))[0] == 423
            connection.shutdown(socket.SHUT_WR)
            answered(connection)
        assert second.piece(place, MIB // 2, data[MIB // 2 :])[1]["upload-job"] == "264"
        assert export_of(tmp_path / "data", "264", 1) == data


def test_uploads_of_one_name_that_are_sent_at_once_do_not_mix(
    server: Running, tmp_path: Path
) -> None:
    talk = Talk(server)
    bodies = [large_export(tmp_path / "x.zip", seed=seed).read_bytes() for seed in range(3)]

    def send(data: bytes) -> None:
        place = talk.begin(data, "same.zip")
        for at in range(0, len(data), MIB):
            assert talk.piece(place, at, data[at : at + MIB])[0] == 204

    senders = [threading.Thread(target=send, args=(data,)) for data in bodies]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    kept = [export_of(server.data_dir, "same", number) for number in (1, 2, 3)]
    assert sorted(kept) == sorted(bodies)


def test_an_upload_outlives_the_server_that_is_killed(tmp_path: Path, large: bytes) -> None:
    data = large
    with running("threading", tmp_path, BROKER_URL=NO_BROKER) as server:
        talk = Talk(server)
        place = talk.begin(data, "264.zip")
        with talk.half(place, 0, data[: 2 * MIB], len(data)):
            talk.until(place, MIB)
            server.process.kill()
            server.process.wait()
    with running("threading", tmp_path, BROKER_URL=NO_BROKER) as server:
        talk = Talk(server)
        at = talk.offset(place)
        assert at >= MIB
        assert talk.piece(place, at, data[at:])[1]["upload-job"] == "264"
        assert export_of(server.data_dir, "264", 1) == data


def test_a_large_upload_needs_little_memory(server: Running, tmp_path: Path) -> None:
    path, talk = large_export(tmp_path / "big.zip", frames=100, side=1024), Talk(server)
    size = path.stat().st_size
    assert size > 300 * MIB
    before = peak(server)
    head = TUS | {"Upload-Length": str(size), "Upload-Metadata": metadata("big.zip")}
    place = talk.ask("POST", "/api/uploads", head)[1]["location"]
    head = PIECE | {"Upload-Offset": "0"}
    with talk.opened("PATCH", place, head, size) as connection, path.open("rb") as file:
        connection.sendfile(file)
        status, head = answered(connection)
    assert (status, head["upload-job"]) == (204, "big")
    assert peak(server) - before < 100 * MIB


# -- the disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_what_arrived_and_says_what_to_do(
    small_disk: Path,
    settings: Settings,
    make_app: Callable[[Settings], Flask],
    large: bytes,
) -> None:
    client = make_app(replace(settings, data_dir=small_disk / "data")).test_client()
    data = large
    place = create(client, data)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(bytes(free - 3 * MIB))

    full = patch(client, place, 0, data)
    assert full.status_code == 507
    assert "disk is full: make room in DATA_DIR" in full.get_json()["error"]
    assert client.post("/api/jobs?name=264.zip", data=data).status_code == 507
    at = offset(client, place)
    assert MIB <= at < len(data)

    ballast.unlink()
    assert patch(client, place, at, data[at:]).headers["Upload-Job"] == "264"
    assert export_of(small_disk / "data", "264", 1) == data


def test_a_read_only_disk_keeps_what_arrived_and_says_what_to_do(
    small_disk: Path, app: Flask, settings: Settings, make_export: MakeExport
) -> None:
    (settings.data_dir / "uploads").symlink_to(small_disk)  # jobs lie on another disk then
    client, data = app.test_client(), make_export()
    place = create(client, data)
    patch(client, place, 0, data[:100])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        answer = patch(client, place, 100, data[100:])
        assert answer.status_code == 507
        assert "read-only" in answer.get_json()["error"]
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert patch(client, place, 100, data[100:]).headers["Upload-Job"] == "264"
    assert export_of(settings.data_dir, "264", 1) == data


def test_a_new_server_removes_what_nobody_touched_for_a_day_and_nothing_else(
    settings: Settings, make_app: Callable[[Settings], Flask], make_export: MakeExport
) -> None:
    app = make_app(settings)
    client, data = app.test_client(), make_export()
    old, fresh = create(client, data), create(client, data)
    with app.extensions[KEY].jobs.database.write() as session:
        row = session.get(PartialUpload, old.rpartition("/")[2])
        row.updated = row.updated - KEPT_SECONDS - 1
    again = make_app(settings).test_client()
    assert again.head(old, headers=TUS).status_code == 404
    assert patch(again, fresh, 0, data).headers["Upload-Job"] == "264"
    left = [path.name for path in (settings.data_dir / "uploads").glob("*.part")]
    assert left == []
