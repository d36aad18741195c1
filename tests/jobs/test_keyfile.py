"""Promise: a key's file is made once, whole, for its owner alone; a careless one is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from errors import SettingsError
from jobs import keyfile


def test_a_file_is_made_once_and_then_read(tmp_path: Path) -> None:
    path = tmp_path / "data" / keyfile.AGENT_KEY
    assert keyfile.read(path) == ""
    secret, made = keyfile.ensure(path)
    assert made
    assert len(secret) >= 43  # 256 bits in base64
    assert keyfile.ensure(path) == (secret, False)
    assert keyfile.read(path) == secret
    assert [file.name for file in path.parent.iterdir()] == [keyfile.AGENT_KEY]


def test_only_its_owner_may_read_it_from_the_first_byte_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fdopen = os.fdopen

    def look(handle: int, *args: object, **kwargs: object) -> object:
        state = os.fstat(handle)
        seen.append((state.st_size, state.st_mode & 0o777))
        return fdopen(handle, *args, **kwargs)

    monkeypatch.setattr(os, "fdopen", look)
    before = os.umask(0)
    try:
        keyfile.ensure(tmp_path / "k")
    finally:
        os.umask(before)
    assert seen == [(0, 0o600)]
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600


def test_many_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    for round_ in range(20):
        path, found = tmp_path / str(round_), []
        barrier = threading.Barrier(8)

        def start(path: Path = path, found: list = found, barrier=barrier) -> None:
            barrier.wait()
            found.append(keyfile.ensure(path))

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({secret for secret, _ in found}) == 1
        assert sum(made for _, made in found) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "agent.key"
    keyfile.ensure(path)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=r"agent\.key may be read by others.*chmod 600"):
        keyfile.read(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"a" * 15, b"   short   \n        ", b"\xff" * 40])
def test_a_file_that_holds_no_good_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"agent\.key is (too short|no plain text)"):
        keyfile.ensure(path)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"agent\.key cannot be"):
        keyfile.ensure(tmp_path / "file" / "agent.key")
