"""Files that others read appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from errors import InputError, one_line

_SUFFIX_BYTES = 32  # a longer suffix is no suffix but a name with a dot
_NAME_SHOWN = 120  # characters of a name in a sentence, so that its reason still fits


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file to write; it takes the name `path` when the block ends without an error.

    It is written under a temporary name in the same folder, flushed to disk and renamed; after an
    error nothing is left of it. Where `path` is a symbolic link, the file it leads to is replaced.
    """
    real = _real(path)
    with temporary_name(real) as temporary:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(real)


@contextmanager
def temporary_name(path: Path) -> Iterator[Path]:
    """Give a free hidden name beside `path`, with its suffix; a file left under it is deleted.

    The name is short whatever that of `path` is: a file system that can hold the one can hold the
    other.
    """
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _SUFFIX_BYTES else ""
    temporary = path.with_name(_short_name() + suffix)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Give a new folder to write files into; `folder` holds them once the block ends well.

    `folder` may be missing (its own folder must be there) or empty. The files lie under a temporary
    name until all are written; after an error nothing is left of them. Raises InputError on entry
    when `folder` is a file or holds anything, or when the system refuses to write there.
    """
    real = _real(folder)
    try:
        exists = real.is_dir()
        if not exists and os.path.lexists(real):
            raise InputError(f"{_shown(folder)} is no folder: choose another name.")
        if exists and next(real.iterdir(), None) is not None:
            raise InputError(
                f"The folder {_shown(folder)} is not empty: choose a new one, so that nothing old "
                "is mixed with what is written."
            )
        if not exists:
            _require_parent(real)
        # An empty folder may be a mount point, which cannot be renamed over: it is filled instead.
        temporary = (real if exists else real.parent) / _short_name()
        temporary.mkdir()
    except OSError as exc:
        raise _refused(folder, exc) from exc
    try:
        yield temporary
        if exists:
            for file in list(temporary.iterdir()):
                file.rename(real / file.name)
        else:
            temporary.rename(real)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_writable(target: Path) -> Path:
    """Make sure that a file can be written at `target`, by making one beside it and removing it.

    Returns where the file will really lie: `target` with symbolic links followed. Raises InputError
    with one sentence where `target` is a folder, a device, a pipe or a socket, where its folder is
    missing, and where the system refuses.
    """
    real = _real(target)
    try:
        try:
            mode = real.stat().st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            raise InputError(f"{_shown(target)} is a folder: give the name of a file to write.")
        if not stat.S_ISREG(mode):
            raise InputError(
                f"{_shown(target)} is a device, a pipe or a socket: give the name of a plain file "
                "to write."
            )
        _require_parent(real)
        with temporary_name(real) as temporary:
            temporary.open("xb").close()
    except OSError as exc:
        raise _refused(target, exc) from exc
    return real


def require_other(target: Path, *sources: Path | None) -> None:
    """Refuse to write `target` where it is one of `sources`, whatever the name it goes by."""
    for source in sources:
        if source is not None and source.exists() and target.exists() and target.samefile(source):
            raise InputError(f"{_shown(target)} is one of the inputs: give another name to write.")


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the system refuses while `target` is written (a full disk) into InputError."""
    try:
        yield
    except OSError as exc:
        raise _refused(target, exc) from exc


def _require_parent(real: Path) -> None:
    if not real.parent.is_dir():
        raise InputError(
            f"There is no folder {_shown(real.parent)} to write {one_line(real.name, 80)} into: "
            "make it first, or choose another place."
        )


def _refused(target: Path, exc: OSError) -> InputError:
    return InputError(
        f"{_shown(target)} cannot be written ({exc.strerror or 'unknown reason'}): make room, or "
        "choose another place."
    )


def _shown(path: Path) -> str:
    whole = str(path)
    return one_line(whole if len(whole) <= _NAME_SHOWN else path.name, _NAME_SHOWN)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _short_name() -> str:
    return f".{os.getpid()}.{secrets.token_hex(4)}"
