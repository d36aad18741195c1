"""Promise: the browser's live client is taken from npm's folder or a wheel, whole or not at all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from errors import InputError
from web.vendor import install, main, read_client

ROOT = Path(__file__).parents[2]
SCRIPT = (
    b"/*!\n * Socket.IO v4.8.4\n */\n!function(){}();\n//# sourceMappingURL=socket.io.min.js.map"
)


def node_modules(tmp_path: Path, script: bytes = SCRIPT) -> Path:
    folder = tmp_path / "node_modules"
    file = folder / "socket.io-client" / "dist" / "socket.io.min.js"
    file.parent.mkdir(parents=True)
    file.write_bytes(script)
    return folder


def test_both_sources_give_the_same_script_without_its_map(tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some/static/socket.io.min.js", SCRIPT)
    target = tmp_path / "static" / "socket.io.min.js"
    install(node_modules(tmp_path), target)

    assert target.read_bytes() == read_client(wheel)
    assert b"sourceMappingURL" not in target.read_bytes()
    assert list(target.parent.iterdir()) == [target]


def test_a_missing_or_foreign_script_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    empty = tmp_path / "empty.whl"
    with zipfile.ZipFile(empty, "w"):
        pass
    old = node_modules(tmp_path, b"/*! Socket.IO v2.5.0 */")
    target = tmp_path / "static" / "socket.io.min.js"
    for source in (tmp_path / "nowhere", tmp_path, empty, old):
        with pytest.raises(InputError):
            install(source, target)
    assert not target.exists()


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], [str(tmp_path)]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_lock_pins_every_package_by_its_integrity_and_names_no_address() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text("utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name}
    wanted = json.loads((ROOT / "package.json").read_text("utf-8"))["dependencies"]
    assert packages["node_modules/socket.io-client"]["version"] == wanted["socket.io-client"]
    for package in packages.values():
        assert package["integrity"].startswith("sha512-")
        assert "resolved" not in package
