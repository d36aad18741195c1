"""Zip archives from strangers, opened safely.

Nothing is ever unpacked to disk under a name from the archive. Names, kinds, sizes and counts are
checked before the first byte is inflated; real bytes are counted while they stream. Whatever the
bytes are, the only exception that leaves this module is InputError.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Self

from config import Limits
from errors import InputError, one_line

_END_RECORD = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64_RECORD = struct.Struct("<4sQ2H2L4Q")
_NAME_LENGTHS = struct.Struct("<3H")  # of name, extra field and comment, in a directory's entry
_ENTRY_BYTES, _LENGTHS_AT = 46, 28
_LOCAL_HEADER_BYTES = 30
_UNIX_KIND, _SYMLINK, _FOLDER, _FILE = 0o170000, 0o120000, 0o040000, 0o100000
_DIRECTORY_ENTRY_BYTES = 256  # generous mean: 46 and a name such as images/frame_000000.PNG
# The ratio of a member smaller than this says nothing: it cannot do harm.
_RATIO_FROM_BYTES = 2**20

_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # a compression or version that zipfile does not know
    RuntimeError,  # an encrypted member that does not say so in the directory
    UnicodeError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive; sizes in bytes, as the archive's directory states them."""

    name: str
    size: int
    packed: int


class Member:
    """A file of the archive as a stream that counts what it really gives."""

    def __init__(self, stream: IO[bytes], where: str, entry: Entry, limit: int) -> None:
        self._stream = stream
        self._where = where
        self._limit = limit
        self._entry = entry
        self.given = 0  # bytes so far

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes (all that are left when negative), b"" at the end."""
        wanted = size if 0 <= size <= self._limit else self._limit - self.given + 1
        try:
            data = self._stream.read(wanted)
        except _BROKEN as exc:
            raise InputError(
                f'The file "{self._entry.name}" in {self._where} is damaged: '
                "fetch the archive again."
            ) from exc
        except OSError as exc:
            raise InputError(
                f"{self._where} cannot be read ({exc.strerror or 'unknown reason'})."
            ) from exc
        self.given += len(data)
        if self.given > self._limit:
            raise InputError(
                f'The file "{self._entry.name}" in {self._where} unpacks to more than it states '
                "or than the limit allows: it is not taken."
            )
        return data

    @property
    def size(self) -> int:
        """Bytes in all, as the archive's directory states them."""
        return self._entry.size

    def close(self) -> None:
        """Let go of the stream; the archive stays open."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Archive:
    """An open zip whose directory has passed all checks. `entries` holds its files by name."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Open and check. Raises InputError for every archive that is not taken."""
        self.path = path
        self._limits = limits
        _check_directory_size(path, limits)
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN as exc:
            raise _damaged(path) from exc
        except OSError as exc:
            raise _damaged(path) from exc
        try:
            self.entries = self._checked()
        except BaseException:
            self._zip.close()
            raise

    @property
    def comment(self) -> bytes:
        """The zip's comment."""
        return self._zip.comment

    def open(self, name: str) -> Member:
        """Open the file `name`, which must be in `entries`, as a counted stream."""
        entry = self.entries[name]
        try:
            stream = self._zip.open(name)
        except _BROKEN as exc:
            raise InputError(
                f'The file "{name}" in {self.path.name} is damaged: fetch the archive again.'
            ) from exc
        limit = min(entry.size, self._limits.archive_bytes)
        return Member(stream, self.path.name, entry, limit)

    def info(self, name: str) -> zipfile.ZipInfo:
        """The directory's entry of the file `name`, which must be in `entries`."""
        return self._zip.getinfo(name)

    def head(self, name: str, size: int) -> bytes:
        """Return the first `size` bytes of the file `name`, or all when it is shorter."""
        with self.open(name) as member:
            return member.read(size)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _checked(self) -> dict[str, Entry]:
        where, limits = self.path.name, self._limits
        infos = self._zip.infolist()
        if len(infos) > limits.archive_members:
            raise _too_many(where, len(infos), limits)
        entries: dict[str, Entry] = {}
        seen: set[str] = set()
        size = packed = 0
        for info in infos:
            _check_name(info, where)
            _check_kind(info, where)
            plain = str(PurePosixPath(info.filename))  # "./a" and "a//b" are "a" and "a/b"
            if plain in seen:
                raise InputError(
                    f'{where} holds "{_short(plain)}" more than once: zip it again without '
                    "duplicates."
                )
            seen.add(plain)
            size += info.file_size
            packed += info.compress_size
            _check_ratio(
                info.file_size, info.compress_size, f'"{_short(info.filename)}" in {where}', limits
            )
            if not info.is_dir():
                entries[info.filename] = Entry(info.filename, info.file_size, info.compress_size)
        if size > limits.archive_bytes:
            raise InputError(
                f"{where} unpacks to {size} bytes, more than the limit of {limits.archive_bytes}: "
                "export a smaller part or raise MAX_ARCHIVE_BYTES."
            )
        _check_ratio(size, packed, where, limits)
        _check_overlap(infos, self._zip.start_dir, where)
        return entries


def _check_name(info: zipfile.ZipInfo, where: str) -> None:
    name = info.filename
    # zipfile cuts a name at NUL and turns the system's separator around: look at the original.
    for raw in (name, info.orig_filename):
        parts = PurePosixPath(raw).parts
        drive = len(raw) > 1 and raw[1] == ":"
        if not raw or raw.startswith("/") or drive or ".." in parts or "\\" in raw or "\0" in raw:
            raise InputError(
                f'{where} holds a file named "{_short(raw)}", which points outside the archive or '
                "is written with a backslash: zip it again with plain relative names."
            )


def _check_kind(info: zipfile.ZipInfo, where: str) -> None:
    if info.flag_bits & 0x1:
        raise InputError(f"{where} is encrypted: upload it without a password.")
    kind = (info.external_attr >> 16) & _UNIX_KIND
    if kind not in (0, _FILE, _FOLDER):
        what = "a symbolic link" if kind == _SYMLINK else "no plain file"
        raise InputError(
            f'"{_short(info.filename)}" in {where} is {what}: zip it again with plain files only.'
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f'"{_short(info.filename)}" in {where} is packed in a way that CVAT does not use: '
            "zip it again with the usual deflate method."
        )


def _check_ratio(size: int, packed: int, what: str, limits: Limits) -> None:
    if size > _RATIO_FROM_BYTES and size > packed * limits.archive_ratio:
        raise InputError(
            f"{what} unpacks to more than {limits.archive_ratio} times its packed size, as a zip "
            "bomb does: if it is what CVAT wrote, raise MAX_ARCHIVE_RATIO."
        )


def _check_overlap(infos: list[zipfile.ZipInfo], directory: int, where: str) -> None:
    """Members that share packed bytes are how a small archive pretends to be a large one."""
    end = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.header_offset < end:
            raise _overlap(where)
        name = len(info.orig_filename)  # characters; at least as many bytes
        end = info.header_offset + _LOCAL_HEADER_BYTES + name + info.compress_size
    if end > directory:
        raise _overlap(where)


def _overlap(where: str) -> InputError:
    return InputError(f"{where} holds files that overlap: fetch the archive again.")


def _check_directory_size(path: Path, limits: Limits) -> None:
    """Refuse a directory of too many members before zipfile makes an object of each.

    What the end records state is not believed: the entries are counted.
    """
    tail_size = 65535 + _END_RECORD.size + _END64_LOCATOR.size
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - tail_size))
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END_RECORD.size:
            raise _damaged(path)
        members, size = _END_RECORD.unpack_from(tail, at)[4:6]
        end = length - len(tail) + at
        locator = at - _END64_LOCATOR.size
        if locator >= 0 and tail.startswith(b"PK\6\7", locator):
            offset = _END64_LOCATOR.unpack_from(tail, locator)[2]
            end -= _END64_LOCATOR.size + _END64_RECORD.size
            # Readers differ in where they look for it; here there is one place only.
            if offset != end:
                raise _damaged(path)
            file.seek(offset)
            record = _END64_RECORD.unpack(file.read(_END64_RECORD.size))
            members, size = record[7], record[8]
        if members > limits.archive_members:
            raise _too_many(path.name, members, limits)
        if size > limits.archive_members * _DIRECTORY_ENTRY_BYTES + 2**20:
            raise _too_many(path.name, size // _DIRECTORY_ENTRY_BYTES, limits)
        if size > end:
            raise _damaged(path)
        file.seek(end - size)
        count = _count(file.read(size))
    if count > limits.archive_members:
        raise _too_many(path.name, count, limits)


def _count(directory: bytes) -> int:
    """How many entries a zip's directory really has; what cannot be read ends it."""
    count = at = 0
    while directory.startswith(b"PK\1\2", at) and at + _ENTRY_BYTES <= len(directory):
        at += _ENTRY_BYTES + sum(_NAME_LENGTHS.unpack_from(directory, at + _LENGTHS_AT))
        count += 1
    return count


def _short(name: str) -> str:
    """A member's name for a sentence, which ends with what to do."""
    return one_line(name, 100)


def _too_many(where: str, count: int, limits: Limits) -> InputError:
    return InputError(
        f"{where} holds about {count} files, more than the limit of {limits.archive_members}: "
        "export a smaller part or raise MAX_ARCHIVE_MEMBERS."
    )


def _damaged(path: Path) -> InputError:
    return InputError(
        f"{path.name} is no whole zip archive (an interrupted download or copy, or damaged): "
        "fetch it again from CVAT."
    )
