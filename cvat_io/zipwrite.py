"""A zip with one large text member, deflated by several threads while the text is still made.

Python's zipfile deflates in one thread, which takes longer than all the rest of writing a result.
Blocks of the text are deflated independently and put one behind the other: each ends at a byte
border (a sync flush), so that together they are one deflate stream (RFC 1951, 3.2.4). The
container follows PKWARE's APPNOTE 6.3.10, with ZIP64 sizes.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

LEVEL = 1  # run lengths lose a quarter of their size at the usual level, for seven times the time
_BLOCK_BYTES = 1 << 22
_MOST_THREADS = 4
_LAST_BLOCK = b"\x03\x00"  # an empty block with the mark "final"

_VERSION, _UNIX, _DEFLATED = 45, 3 << 8, 8
_DATE = (1 << 5) | 1  # 1980-01-01, so that the same text gives the same bytes
_MODE = 0o100644 << 16
_ZIP64 = 0xFFFFFFFF
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIZES = struct.Struct("<2H2Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")


def write_zip(
    file: IO[bytes], name: str, parts: Iterable[str | bytes], comment: bytes = b""
) -> None:
    """Write a whole zip whose only member `name` (ASCII) holds `parts`, text as UTF-8.

    `file`: empty and seekable. `comment`: at most 65535 bytes. A few blocks of 4 MiB are in memory
    at once. The bytes depend on the text, the comment and zlib only. What `parts` raises passes
    through.
    """
    if len(comment) > 0xFFFF:
        raise ValueError("a zip's comment holds at most 65535 bytes")
    encoded = name.encode("ascii")
    file.write(bytes(_LOCAL.size + len(encoded) + _LOCAL_SIZES.size))
    crc, packed, size = _deflate(file, parts)
    directory = file.tell()
    large = max(packed, size) >= _ZIP64
    sizes = _LOCAL_SIZES.pack(1, 16, size, packed)
    fields = (_VERSION, 0, _DEFLATED, 0, _DATE, crc)
    states = (_ZIP64, _ZIP64) if large else (packed, size)
    extra = sizes if large else b""
    file.write(
        _CENTRAL.pack(
            b"PK\1\2", _UNIX | _VERSION, *fields, *states, len(encoded), len(extra),
            0, 0, 0, _MODE, 0,
        )
    )  # fmt: skip
    file.write(encoded + extra)
    end = file.tell()
    if directory >= _ZIP64:
        file.write(
            _END64.pack(
                b"PK\6\6", _END64.size - 12, _UNIX | _VERSION, _VERSION, 0, 0, 1, 1,
                end - directory, directory,
            )
        )  # fmt: skip
        file.write(_LOCATOR64.pack(b"PK\6\7", 0, end, 1))
    file.write(
        _END.pack(b"PK\5\6", 0, 0, 1, 1, end - directory, min(directory, _ZIP64), len(comment))
    )
    file.write(comment)
    file.seek(0)
    file.write(_LOCAL.pack(b"PK\3\4", *fields, _ZIP64, _ZIP64, len(encoded), len(sizes)))
    file.write(encoded + sizes)
    file.seek(0, os.SEEK_END)


def _deflate(file: IO[bytes], parts: Iterable[str | bytes]) -> tuple[int, int, int]:
    """Write the deflate stream; return checksum, packed size and size of the text."""
    out = _Stream(file)
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    waiting: deque[Future[None]] = deque()
    with (
        ThreadPoolExecutor(1, thread_name_prefix="zip") as writer,
        ThreadPoolExecutor(threads, thread_name_prefix="deflate") as pool,
    ):
        for block in _blocks(parts):
            deflated = pool.submit(_deflate_block, block)
            waiting.append(writer.submit(out.put, block, deflated))
            if len(waiting) > threads + 1:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
    return out.crc, out.packed + file.write(_LAST_BLOCK), out.size


class _Stream:
    """Puts blocks into the file in their order, and counts; used by one thread at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.crc = self.packed = self.size = 0

    def put(self, block: bytes, deflated: Future[bytes]) -> None:
        """Write one block when it is deflated, with its checksum taken meanwhile."""
        self.crc = zlib.crc32(block, self.crc)
        self.size += len(block)
        self.packed += self._file.write(deflated.result())


def _deflate_block(block: bytes) -> bytes:
    # Run lengths look like what zlib calls filtered data: a seventh faster, at the same size.
    deflater = zlib.compressobj(
        LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED
    )
    return deflater.compress(block) + deflater.flush(zlib.Z_SYNC_FLUSH)


def _blocks(parts: Iterable[str | bytes]) -> Iterable[bytes]:
    block: list[bytes] = []
    size = 0
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        block.append(data)
        size += len(data)
        if size >= _BLOCK_BYTES:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)
