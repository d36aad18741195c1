"""Brings the browser's Socket.IO client to static/vendor/: `python -m web.vendor SOURCE`.

SOURCE is the folder `node_modules` that `npm ci` filled, or a wheel that carries the same file.
Where neither can be had the page works without, by asking every few seconds.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import zipfile
from pathlib import Path

from errors import InputError

TARGET = Path(__file__).resolve().parent.parent / "static" / "vendor" / "socket.io.min.js"
NAME = "socket.io.min.js"
_VERSION = re.compile(rb"Socket\.IO v4\.\d+\.\d+")
_MAP = re.compile(rb"^//# sourceMappingURL=.*$", re.MULTILINE)


def read_client(source: Path) -> bytes:
    """Return the client's script from `node_modules` or a wheel.

    Raises InputError where it is not in there, or is of another generation than the server.
    """
    if source.is_dir():
        file = source / "socket.io-client" / "dist" / NAME
        if not file.is_file():
            raise InputError(f"{file} is missing: run `npm ci` first.")
        script = file.read_bytes()
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel:
            member = next((n for n in wheel.namelist() if n.rpartition("/")[2] == NAME), None)
            if member is None:
                raise InputError(f"{source} holds no {NAME}.")
            script = wheel.read(member)
    else:
        raise InputError(f"{source} is neither a node_modules folder nor a wheel.")
    if not _VERSION.search(script[:400]):
        raise InputError(f"The {NAME} in {source} is no Socket.IO client of version 4.")
    return _MAP.sub(b"", script)  # the map is not served


def install(source: Path, target: Path = TARGET) -> None:
    """Write the client to `target`, whole or not at all."""
    script = read_client(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        file.write(script)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o644)
    Path(file.name).replace(target)


def main(arguments: list[str]) -> int:
    """Return the exit status: 2 with one line on stderr where the source is at fault."""
    try:
        if len(arguments) != 1:
            raise InputError("Usage: python -m web.vendor node_modules|WHEEL")
        install(Path(arguments[0]))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
