"""updates.txt in the downloads folder: which archives are whole and wait to be taken up.

One `<id>.zip` a line, written by the program that downloads from CVAT. A line goes, by its exact
name, once the job's result was fetched. Nobody locks the file, so a rewrite starts over when the
file changed meanwhile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cvat_io.atomic import replacing
from errors import one_line

NAME = "updates.txt"
_LINE = re.compile(r"[^/\\\x00-\x1f]+\.zip")
_MAX_BYTES = 4 * 2**20
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Updates:
    """What the file says. `archives` in its order, each once; `notices` are sentences."""

    archives: tuple[str, ...]
    notices: tuple[str, ...]


def read_updates(folder: Path) -> Updates:
    """Read the file; a missing one says nothing. What cannot be read becomes notices."""
    archives: dict[str, None] = {}
    notices: list[str] = []
    try:
        content = _content(folder / NAME)
    except OSError as exc:
        return Updates((), (one_line(f"{NAME} cannot be read ({exc.strerror})."),))
    if len(content) > _MAX_BYTES:
        content = content[:_MAX_BYTES]
        content = content[: content.rfind(b"\n") + 1]
        notices.append(f"{NAME} is larger than {_MAX_BYTES} bytes: only its beginning is read.")
    for number, raw in enumerate(content.splitlines(), 1):
        line = _text(raw)
        if not line:
            continue
        if _LINE.fullmatch(line) and line not in {".zip", "..zip"} and "\ufffd" not in line:
            archives[line] = None
        else:
            notices.append(
                one_line(
                    f'{NAME}, line {number}: "{line[:80]}" is skipped, write one <id>.zip a line.'
                )
            )
    return Updates(tuple(archives), tuple(notices))


def remove_line(folder: Path, archive: str) -> bool:
    """Remove every line that is exactly `archive`. Returns whether there was one.

    Raises OSError, or NotRewrittenError for a file that is too large or always changing.
    """
    path = folder / NAME
    for _ in range(_TRIES):
        before = _stamp(path)
        content = _content(path)
        if len(content) > _MAX_BYTES:  # the rest of it would be lost
            raise NotRewrittenError(f"it is larger than {_MAX_BYTES} bytes")
        lines = content.splitlines(keepends=True)
        kept = [line for line in lines if _text(line) != archive]
        if len(kept) == len(lines):
            return False
        try:
            with replacing(path) as file:
                file.write(b"".join(kept))
                if _stamp(path) != before:
                    raise _ChangedMeanwhileError
        except _ChangedMeanwhileError:
            continue
        return True
    raise NotRewrittenError("others keep writing it")


class NotRewrittenError(Exception):
    """The file was left as it is; the text says why."""


class _ChangedMeanwhileError(Exception):
    """Somebody wrote the file while we did."""


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip().lstrip("\ufeff")


def _content(path: Path) -> bytes:
    """The file's bytes, and no more than one beyond the limit."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return b""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
