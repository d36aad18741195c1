"""Hostile archives, written byte by byte where zipfile would not write them."""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.cvat_io.cvat_samples import document, images, job, mask, track, write_zip

SOUND = document(job(), track(mask(1)))
MEMBERS = {"annotations.xml": SOUND, **images(*range(10))}
XML = "annotations.xml"
LOCAL = struct.Struct("<4s5H3L2H")
ENTRY = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")


def plus(path: Path, name: str, data: bytes = b"x") -> Path:
    """A sound export and one more file of this name."""
    return write_zip(path, {**MEMBERS, name: data})


def with_entry(
    path: Path, *, kind: int = 0o100644, name: str = "images/x", data: bytes = b"/etc/passwd"
) -> Path:
    """A sound export and one more entry of some kind of file."""
    write_zip(path, MEMBERS)
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, kind << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, data)
    return path


def twice(path: Path, second: str, data: bytes = SOUND) -> Path:
    """A sound export and one more file whose name may be there already."""
    write_zip(path, MEMBERS)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(second, data)
    return path


def patched(path: Path, *changes: tuple[bytes, int, bytes], last: bool = False) -> Path:
    """A sound export with bytes overwritten: (signature, offset behind its start, new bytes)."""
    data = bytearray(write_zip(path, MEMBERS).read_bytes())
    for signature, offset, new in changes:
        at = (data.rindex if last else data.index)(signature) + offset
        data[at : at + len(new)] = new
    path.write_bytes(data)
    return path


def bomb(path: Path, *, files: int, size: int) -> Path:
    """Files of zeros beside a sound export."""
    zeros = bytes(size)
    return write_zip(path, MEMBERS | {f"x/{n}": zeros for n in range(files)})


def nested(path: Path, depth: int, *, alone: bool) -> Path:
    """Zips in zips, 16 in each, around a gigabyte's worth of zeros at every end."""
    inner = path.with_suffix(".inner")
    data = write_zip(inner, {"0": bytes(2**24)}).read_bytes()
    for _ in range(depth):
        data = write_zip(inner, {f"{n}.zip": data for n in range(16)}).read_bytes()
    inner.unlink()
    return write_zip(path, {"0.zip": data} if alone else MEMBERS | {"0.zip": data})


def count_bomb(path: Path, members: int, *, stated: int) -> Path:
    """A directory with so many entries, and another number in its end record."""
    name = b"x"
    local = LOCAL.pack(b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0) + name
    entry = ENTRY.pack(b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + name
    directory = entry * members
    end = _end(stated, len(directory), len(local))
    path.write_bytes(local + directory + end)
    return path


def _end(members: int, size: int, offset: int) -> bytes:
    """The end records, with a zip64 one, as zipfile writes them."""
    record = END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, members, members, size, offset)
    locator = LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    return record + locator + END.pack(b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)


def zip64_elsewhere(path: Path) -> Path:
    """Two zip64 records: the locator points to a harmless one, and another stands before it."""
    data = count_bomb(path, 3000, stated=3000).read_bytes()
    first, record = data.index(b"PK\1\2"), data.index(b"PK\6\6")
    harmless = END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 47, first + END64.size)
    locator = LOCATOR.pack(b"PK\6\7", 0, first, 1)
    body = data[:first] + harmless + data[first : record + END64.size]
    path.write_bytes(body + locator + data[-END.size :])
    return path


def zip64_huge(path: Path) -> Path:
    """A zip64 extra field that states 2^63 bytes, for an empty file."""
    name = b"annotations.xml"
    extra = struct.pack("<2H2Q", 1, 16, 2**63, 2**63)
    big = 2**32 - 1
    local = LOCAL.pack(b"PK\3\4", 45, 0, 0, 0, 33, 0, big, big, len(name), len(extra))
    entry = ENTRY.pack(
        b"PK\1\2", 45, 45, 0, 0, 0, 33, 0, big, big, len(name), len(extra), 0, 0, 0, 0, 0
    )
    body = local + name + extra
    directory = entry + name + extra
    path.write_bytes(
        body + directory + END.pack(b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)
    )
    return path


def quoted_overlap(path: Path, files: int, kernel: bytes) -> Path:
    """The better zip bomb of David Fifield: every file holds the headers of all that follow.

    A local header inside a file is quoted by a deflate block that is stored, so that each file
    unpacks to all later headers and then to the one `kernel` that all share.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(kernel) + packer.flush()
    data, plain = packed, kernel
    entries: list[tuple[bytes, int, int, int, int]] = []
    for number in reversed(range(files)):
        name = XML.encode() if number == 0 else f"x/{number:05d}".encode()
        entries.append((name, zlib.crc32(plain), len(data), len(plain), len(data)))
        header = LOCAL.pack(
            b"PK\3\4", 20, 0, 8, 0, 33, zlib.crc32(plain), len(data), len(plain), len(name), 0
        )
        header += name
        quoted = struct.pack("<B2H", 0, len(header), len(header) ^ 0xFFFF) + header
        data, plain = quoted + data, header + plain
    body = data[5:]  # the first header itself is not quoted
    directory = b""
    for name, check, packed_size, size, behind in reversed(entries):
        at = len(body) - behind - LOCAL.size - len(name)
        directory += (
            ENTRY.pack(
                b"PK\1\2", 20, 20, 0, 8, 0, 33, check, packed_size, size, len(name),
                0, 0, 0, 0, 0, at,
            )
            + name
        )  # fmt: skip
    end = END.pack(b"PK\5\6", 0, 0, files, files, len(directory), len(body), 0)
    path.write_bytes(body + directory + end)
    return path


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """A sound export whose bytes are changed as a whole."""
    path.write_bytes(change(write_zip(path, MEMBERS).read_bytes()))
    return path


def with_comment(path: Path, comment: bytes) -> Path:
    """A sound export with a comment."""
    write_zip(path, MEMBERS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = comment
    return path


def repeated(path: Path, before: bytes, block: bytes, times: int, after: bytes) -> Path:
    """annotations.xml in which `block` stands many times: gigabytes that are made at once.

    A deflated block that ends in a full flush refers to nothing before it, so that its packed bytes
    may be repeated like its plain ones. The checksum is wrong; nobody comes as far as that.
    """

    def packed(data: bytes, end: int) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush(end)

    body = packed(before, zlib.Z_FULL_FLUSH) + packed(block, zlib.Z_FULL_FLUSH) * times
    body += packed(after, zlib.Z_FINISH)
    size, name = len(before) + len(block) * times + len(after), XML.encode()
    local = LOCAL.pack(b"PK\3\4", 20, 0, 8, 0, 33, 0, len(body), size, len(name), 0)
    entry = ENTRY.pack(
        b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, len(body), size, len(name), 0, 0, 0, 0, 0, 0
    )
    start = local + name + body
    directory = entry + name
    end = END.pack(b"PK\5\6", 0, 0, 1, 1, len(directory), len(start), 0)
    path.write_bytes(start + directory + end)
    return path
