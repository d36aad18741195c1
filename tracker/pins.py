"""Whether a file of weights is still the one that was published, or that was used first.

`pins.json` beside the weights remembers each file's SHA-256, with the size, time and inode that it
had: a file is hashed anew only where these differ. It also remembers as what a file was looked
through, which takes longer than hashing it. Where it cannot be written a process remembers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from errors import InputError

FILE = "pins.json"
_log = logging.getLogger(__name__)
_LOCK_SECONDS = 30.0
_SHOWN = 12  # hexadecimal digits of a hash in a sentence
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that is the right one; `pinned`: its hash was written down just now, as the first."""

    path: Path
    sha256: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class _Pin:
    sha256: str
    size: int
    mtime_ns: int
    inode: int
    fits: str = ""  # what its content was found to be, in words that `note_fit` was given

    def is_of(self, other: os.stat_result) -> bool:
        seen = (other.st_size, other.st_mtime_ns, other.st_ino)
        return seen == (self.size, self.mtime_ns, self.inode)


_known: dict[Path, _Pin] = {}  # where MODEL_DIR cannot be written: of each file the newest


def check(folder: Path, name: str, *, sha256: str = "", again: str) -> Checked:
    """Compare the file `name` in `folder` with `sha256`, or where that is "" with its pin.

    A file without either is pinned. `again`: what a person can do to get the right file. Raises
    InputError where it is not the right one, or cannot be read.
    """
    path = folder / name
    own = _known.get(path)
    pin = _read(folder).get(name) or own
    try:
        status = path.stat()
        seen = next((p for p in (pin, own) if p is not None and p.is_of(status)), None)
        digest = seen.sha256 if seen is not None else digest_of(path)
    except OSError as exc:
        raise InputError(f"{path} cannot be read ({exc.strerror}): {again}.") from exc
    if sha256 and digest != sha256:
        raise InputError(
            f"{path} is not the published file (SHA-256 {digest[:_SHOWN]}…, not "
            f"{sha256[:_SHOWN]}…): {again}."
        )
    if not sha256 and pin is not None and digest != pin.sha256:
        raise InputError(
            f"{path} is not the file that was pinned on first use (SHA-256 {digest[:_SHOWN]}…, not "
            f"{pin.sha256[:_SHOWN]}…): put that one back, or delete {folder / FILE} to trust what "
            "is here now."
        )
    first = pin is None and not sha256
    if seen is None:
        fits = pin.fits if pin is not None and pin.sha256 == digest else ""
        fresh = _Pin(digest, status.st_size, status.st_mtime_ns, status.st_ino, fits)
        _write(folder, name, fresh)
        if first:
            _log.info("%s is pinned on first use: SHA-256 %s.", name, digest)
    return Checked(path, digest, first)


def is_pinned(folder: Path, name: str) -> bool:
    """Whether the file `name` in `folder` has a hash that it is compared with."""
    return name in _read(folder) or folder / name in _known


def is_known_to_fit(folder: Path, name: str, what: str) -> bool:
    """Whether the file, which was just checked, was noted to be `what`."""
    return any(
        pin is not None and what in pin.fits.split(", ")
        for pin in (_read(folder).get(name), _known.get(folder / name))
    )


def note_fit(folder: Path, name: str, what: str) -> None:
    """Remember of a file that was just checked that its content is `what`, until it changes."""
    pin = _known.get(folder / name) or _read(folder).get(name)
    if pin is not None:
        known = [each for each in pin.fits.split(", ") if each]
        _write(folder, name, replace(pin, fits=", ".join(sorted({*known, what}))))


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits; raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read(folder: Path) -> dict[str, _Pin]:
    path = folder / FILE
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        pins = {name: _Pin(**values) for name, values in stored.items()}
        if not all(isinstance(pin.sha256, str) for pin in pins.values()):
            raise TypeError("a hash is a text")
        return pins
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise InputError(
            f"{path} cannot be read: delete it, and the weights that are here are pinned anew."
        ) from exc


def _write(folder: Path, name: str, pin: _Pin) -> None:
    """Put one pin beside the others; a folder that cannot be written keeps none."""
    from filelock import FileLock, Timeout  # here: a web host, which has no weights, lacks it

    try:
        with FileLock(folder / "pins.lock", timeout=_LOCK_SECONDS):
            pins = {**_read(folder), name: pin}
            text = json.dumps({n: asdict(p) for n, p in sorted(pins.items())}, indent=2)
            temporary = folder / f".{FILE}.{os.getpid()}"
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / FILE)
    except (OSError, Timeout) as exc:
        _known[folder / name] = pin
        _log.warning("%s cannot be written (%s): hashes are kept in memory.", folder / FILE, exc)
