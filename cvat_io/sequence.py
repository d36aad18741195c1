"""Sequences that lie in a folder: videos, and folders of images, found without being led astray.

Only what is directly in the given folder is offered. Hidden names are passed over, and so is
whatever is no plain file or folder, or is a symbolic link to a place outside.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from errors import InputError, one_line

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv"}
)
MOST_NAME = 120  # characters of a sequence's name


class SequenceKind(StrEnum):
    """What the frames of a sequence are in."""

    IMAGES = "images"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Found:
    """One sequence: its name is that of its file or folder."""

    name: str
    kind: SequenceKind
    path: Path


def find_sequences(root: Path) -> list[Found]:
    """Return what lies in `root`, in natural order of names; [] where there is no such folder.

    A folder is a sequence if it holds an image. Raises InputError where `root` cannot be read.
    """
    found = (_look(root, name) for name in _names(root))
    return sorted((each for each in found if each is not None), key=lambda f: natural(f.name))


def find_sequence(root: Path, name: str) -> Found | None:
    """Return the sequence `name` in `root`, None where there is none; `name` may be hostile."""
    return _look(root, name) if is_name(name) and name in _names(root) else None


def is_name(name: str) -> bool:
    """Tell whether a sequence may be called so: one visible name of a file, printable, not long."""
    return (
        0 < len(name) <= MOST_NAME
        and name.isprintable()
        and not name.startswith((".", " "))
        and not name.endswith((".", " "))
        and not set(name) & set('/\\:*?"<>|')
    )


def image_files(folder: Path, root: Path) -> list[Path]:
    """Return the images directly in `folder`, in natural order (2.png before 10.png).

    `root`: what a link may not lead out of. Raises InputError where the folder cannot be read.
    """
    paths = (
        folder / name for name in _names(folder) if Path(name).suffix.lower() in IMAGE_SUFFIXES
    )
    inside = (path for path in paths if _kind(path, root) == stat.S_IFREG)
    return sorted(inside, key=lambda path: natural(path.name))


def stamp_of(found: Found, root: Path) -> str:
    """Return a text that changes whenever the sequence's files change: names, sizes or times.

    Raises InputError where they cannot be read.
    """
    files = [found.path] if found.kind is SequenceKind.VIDEO else image_files(found.path, root)
    state = sha256()
    try:
        for file in files:
            of = file.stat()
            state.update(f"{file.name!r} {of.st_size} {of.st_mtime_ns}\n".encode())
    except OSError as exc:
        raise _unreadable(found.path, exc) from exc
    return state.hexdigest()


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that compares runs of digits as numbers; the name itself breaks ties."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], name


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise _unreadable(folder, exc) from exc


def _look(root: Path, name: str) -> Found | None:
    path = root / name
    if not is_name(name):
        return None
    kind = _kind(path, root)
    if kind == stat.S_IFREG and path.suffix.lower() in VIDEO_SUFFIXES:
        return Found(name, SequenceKind.VIDEO, path)
    if kind == stat.S_IFDIR and _has_images(path):
        return Found(name, SequenceKind.IMAGES, path)
    return None


def _has_images(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(
                Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
                for entry in entries
            )
    except OSError:  # somebody else's folder: it is not offered
        return False


def _kind(path: Path, root: Path) -> int:
    """What `path` is (stat's S_IF...), 0 where it leads out of `root` or nowhere."""
    try:
        if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root.resolve()):
            return 0
        return stat.S_IFMT(path.stat().st_mode)
    except (OSError, RuntimeError):  # gone, forbidden, or links in a circle
        return 0


def _unreadable(path: Path, exc: OSError) -> InputError:
    return InputError(
        f"{one_line(path.name, 120)} cannot be read ({exc.strerror or 'unknown reason'}): let the "
        "server read it, or point SEQUENCES_PATH to another folder."
    )
