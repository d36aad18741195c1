"""Secrets in files of their own: `DATA_DIR/agent.key`, which people sign in with, and
`DATA_DIR/session.key`, which signs their sessions where there is no such key.

A file is made whole: written under a temporary name that only its owner may read, flushed, and
then linked to its name, which fails where another server was faster. So whoever finds the file
finds all of it, and servers that start at the same moment agree on one secret.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cvat_io.atomic import temporary_name
from errors import SettingsError
from jobs.files import sync_folder

AGENT_KEY = "agent.key"
SESSION_KEY = "session.key"
LEAST = 16  # characters of a key; config.py asks the same of AGENT_KEY
_OTHERS = 0o077  # the mode's bits of everybody but the owner


def read(path: Path) -> str:
    """Return the secret in `path`, "" where there is no such file.

    Raises SettingsError for a file that others may read, that is too short or no plain text.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(4096)
    except FileNotFoundError:
        return ""
    except OSError as exc:
        raise SettingsError(
            f"{path} cannot be read ({exc.strerror}): start the server as the file's owner, or set "
            "AGENT_KEY."
        ) from exc
    if os.name == "posix" and mode & _OTHERS:
        raise SettingsError(
            f"{path} may be read by others (mode {mode & 0o777:o}): run `chmod 600` on it, or "
            "remove it to get a new one."
        )
    try:
        secret = content.decode("ascii").strip()
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{path} is no plain text: remove it to get a new one.") from exc
    if len(secret) < LEAST:
        raise SettingsError(
            f"{path} is too short: it must hold at least {LEAST} characters; remove it to get a "
            "new one."
        )
    return secret


def ensure(path: Path) -> tuple[str, bool]:
    """Return the secret in `path`, and whether it was made just now, from 256 random bits.

    Raises SettingsError as `read` does, and where the file cannot be made.
    """
    known = read(path)
    if known:
        return known, False
    secret = secrets.token_urlsafe(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_name(path) as temporary:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(f"{secret}\n")
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(temporary)
        sync_folder(path.parent)
    except FileExistsError:  # another server made it at the same moment
        return read(path), False
    except OSError as exc:
        raise SettingsError(
            f"{path} cannot be made ({exc.strerror}): make room or give rights to write there, or "
            "set AGENT_KEY."
        ) from exc
    return secret, True
