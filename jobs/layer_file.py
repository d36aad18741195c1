"""The masks of a layer in one file, from which those of any frames are read at once.

What an answer needs is made when the file is written: every mask is the JSON text that goes out,
deflated by itself up to a byte border, so that masks put one behind the other are one deflate
stream (RFC 1951, 3.2.4) and nothing is parsed or packed again. A table says where each mask lies.

    magic | masks ... | timeline (zlib) | table | head (zlib) | footer | magic

The masks may come in any order; the table is in that of frames, the lowest mask first.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from json.encoder import encode_basestring_ascii as _text
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from jobs.layer_views import FrameEntry, MaskEntry

MAGIC = b"mask-relay layer 3\n"
_FOOTER = struct.Struct("<6Q")  # timeline, its bytes, table, masks, head, its bytes
_ADLER = 65521
_STORED_MOST = 65535  # bytes of one stored block
_LEVEL = 1
_BATCH = 1 << 18  # characters of masks that are deflated in one go
_BESIDE = 200  # characters of a mask beside its runs
_THREADS = 2

RECORD = np.dtype(
    [
        ("index", "<u4"),  # of the frame among the job's
        ("z", "<i4"),
        ("object", "<i8"),
        ("label", "<u4"),  # in the head's list
        ("box", "<i4", 4),  # left, top, width, height
        ("digest", "<u8"),  # of box and runs: equal ones show equal pixels
        ("offset", "<u8"),
        ("packed", "<u4"),
        ("size", "<u4"),
        ("adler", "<u4"),
    ]
)
"""One mask of the table."""

Records = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Packed:
    """A JSON text as a zlib stream, which is what HTTP calls "deflate"."""

    zlib: bytes

    @property
    def text(self) -> bytes:
        """The text itself."""
        return zlib.decompress(self.zlib)


def packed(value: Any) -> Packed:
    """Pack plain data."""
    return Packed(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), _LEVEL))


def mask_json(entry: MaskEntry) -> bytes:
    """The text of one mask; what is not known is left out."""
    known = "" if entry.score is None else f'"score":{entry.score},"why":{_text(entry.why)},'
    left, top, width, height = entry.box
    return (
        f'{{"object":{entry.object},"label":{_text(entry.label)},'
        f'"box":[{left},{top},{width},{height}],{known}'
        f'"occluded":{"true" if entry.occluded else "false"},"z":{entry.z},'
        f'"runs":{_text(entry.runs)}}}'
    ).encode()


def pixels_digest(entry: MaskEntry) -> int:
    """64 bits that stand for a mask's box and runs."""
    text = f"{entry.box}{entry.runs}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def pack_frames(entries: Iterable[FrameEntry]) -> Packed:
    """Pack frames that lie in no file, in the form of `LayerFile.frames`."""
    stream = _Stream()
    stream.store(b'{"frames":[')
    for number, entry in enumerate(entries):
        masks = b",".join(map(mask_json, entry.masks))
        stream.deflate(_opening(number, entry.frame, entry.key) + masks + b"]}")
    stream.store(b"]}")
    return stream.close()


class LayerWriter:
    """Writes a layer's file; `file` is empty and seekable. Use it as a context manager.

    Masks are deflated by threads beside whoever adds them, some hundred kilobytes at a time.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._table: list[Records] = []
        self._labels: dict[str, int] = {}
        self._end = file.write(MAGIC)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="layer")
        self._batch: list[tuple[int, int, MaskEntry]] = []
        self._characters = 0
        self._waiting: deque[Future[tuple[Records, bytes]]] = deque()

    def add(self, index: int, entry: MaskEntry) -> None:
        """Add a mask on frame number `index` of the job."""
        label = self._labels.setdefault(entry.label, len(self._labels))
        self._batch.append((index, label, entry))
        self._characters += len(entry.runs) + _BESIDE
        if self._characters >= _BATCH:
            self._submit()

    def finish(self, head: Mapping[str, Any], timeline: Packed) -> None:
        """Write what stands behind the masks. `head`: plain data; `labels` is added to it."""
        self._submit()
        while self._waiting:
            self._write(self._waiting.popleft().result())
        table = np.concatenate([np.zeros(0, dtype=RECORD), *self._table])
        # In the order of the file where frame and z-order are equal.
        table = table[np.lexsort((np.arange(len(table)), table["z"], table["index"]))]
        text = packed({**head, "labels": list(self._labels)}).zlib
        begin = self._end
        middle = begin + self._file.write(timeline.zlib)
        end = middle + self._file.write(table.tobytes())
        self._file.write(text)
        self._file.write(
            _FOOTER.pack(begin, len(timeline.zlib), middle, len(table), end, len(text)) + MAGIC
        )

    def _submit(self) -> None:
        if self._batch:
            self._waiting.append(self._pool.submit(_pack_batch, self._batch))
        self._batch, self._characters = [], 0
        while len(self._waiting) > 2 * _THREADS:
            self._write(self._waiting.popleft().result())

    def _write(self, made: tuple[Records, bytes]) -> None:
        records, data = made
        records["offset"] += self._end
        self._table.append(records)
        self._end += self._file.write(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _pack_batch(batch: Sequence[tuple[int, int, MaskEntry]]) -> tuple[Records, bytes]:
    """The records and the deflated texts of some masks; offsets count from the first of them."""
    rows, blocks, offset = [], [], 0
    for index, label, entry in batch:
        text = mask_json(entry)
        block = _deflated(text)
        rows.append(
            (index, entry.z, entry.object, label, entry.box, pixels_digest(entry),
             offset, len(block), len(text), zlib.adler32(text))
        )  # fmt: skip
        blocks.append(block)
        offset += len(block)
    return np.array(rows, dtype=RECORD), b"".join(blocks)


class DamagedError(Exception):
    """A layer's file is not whole, or of another version: it is to be made anew."""


class LayerFile:
    """A layer's file for reading. Keeps the table in memory and no file open; thread-safe.

    `head`: what `LayerWriter.finish` was given. `frames_all`: the job's frames. `keys`: its key
    frames.
    """

    def __init__(self, path: Path) -> None:
        """Read the table. Raises DamagedError, and OSError where the file cannot be read."""
        self.path = path
        try:
            with path.open("rb") as file:
                self._read(file)
        except (ValueError, KeyError, TypeError, struct.error, zlib.error) as exc:
            raise DamagedError(str(path)) from exc

    def _read(self, file: IO[bytes]) -> None:
        end = file.seek(0, 2)
        file.seek(max(0, end - _FOOTER.size - len(MAGIC)))
        tail = file.read()
        if len(tail) != _FOOTER.size + len(MAGIC) or not tail.endswith(MAGIC):
            raise ValueError("no footer")
        self._timeline, self._timeline_size, at, count, head_at, head_size = _FOOTER.unpack(
            tail[: _FOOTER.size]
        )
        file.seek(at)
        self.table: Records = np.frombuffer(file.read(count * RECORD.itemsize), dtype=RECORD)
        if len(self.table) != count:
            raise ValueError("a short table")
        file.seek(head_at)
        self.head: dict[str, Any] = json.loads(zlib.decompress(file.read(head_size)))
        self.frames_all = range(self.head["first"], self.head["last"] + 1, self.head["step"])
        self.keys = frozenset(self.head["key_frames"])
        self.labels: tuple[str, ...] = tuple(self.head["labels"])

    def timeline(self) -> Packed:
        """The layer at a glance, a `TimelineView`."""
        with self.path.open("rb") as file:
            file.seek(self._timeline)
            return Packed(file.read(self._timeline_size))

    def frames(self, frames: Sequence[int]) -> Packed:
        """`{"frames": [FrameEntry, ...]}` of some of the job's frames, which ascend."""
        stream = _Stream()
        stream.store(b'{"frames":[')
        with self.path.open("rb") as file:
            for number, frame in enumerate(frames):
                stream.store(_opening(number, frame, frame in self.keys))
                records = self.on(frame)
                for at, (record, block) in enumerate(
                    zip(records, _blocks(file, records), strict=True)
                ):
                    if at:
                        stream.store(b",")
                    stream.add(block, int(record["size"]), int(record["adler"]))
                stream.store(b"]}")
        stream.store(b"]}")
        return stream.close()

    def on(self, frame: int) -> Records:
        """The records of a frame's masks, the lowest one first."""
        index = (frame - self.frames_all.start) // self.frames_all.step
        begin, end = np.searchsorted(self.table["index"], (index, index + 1))
        return self.table[begin:end]

    def masks(self, records: Records) -> list[MaskEntry]:
        """The masks of some records, parsed."""
        with self.path.open("rb") as file:
            return [_entry(block) for block in _blocks(file, records)]


def _entry(block: bytes) -> MaskEntry:
    told = json.loads(zlib.decompressobj(-zlib.MAX_WBITS).decompress(block))
    return MaskEntry(**{**told, "box": tuple(told["box"])})


def _blocks(file: IO[bytes], records: Records) -> list[bytes]:
    """The deflated texts of records; those that lie side by side are read at once."""
    if not len(records):
        return []
    offsets, sizes = records["offset"].astype(np.int64), records["packed"].astype(np.int64)
    ends = offsets + sizes
    if (offsets[1:] == ends[:-1]).all():
        file.seek(int(offsets[0]))
        data = file.read(int(ends[-1] - offsets[0]))
        base = int(offsets[0])
        return [data[a - base : b - base] for a, b in zip(offsets, ends, strict=True)]
    found = []
    for offset, size in zip(offsets.tolist(), sizes.tolist(), strict=True):
        file.seek(offset)
        found.append(file.read(size))
    return found


def _opening(number: int, frame: int, key: bool) -> bytes:
    comma = "," if number else ""
    return f'{comma}{{"frame":{frame},"key":{"true" if key else "false"},"masks":['.encode()


def _deflated(text: bytes) -> bytes:
    # Run lengths look like what zlib calls filtered data.
    deflater = zlib.compressobj(
        _LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED
    )
    return deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH)


class _Stream:
    """A zlib stream (RFC 1950) made of deflated parts that end at byte borders."""

    def __init__(self) -> None:
        self._parts = [b"\x78\x01"]
        self._waiting: list[bytes] = []  # to be stored
        self._low, self._high = 1, 0  # of the checksum

    def store(self, text: bytes) -> None:
        """Add a short text as it is."""
        self._waiting.append(text)

    def add(self, block: bytes, size: int, adler: int) -> None:
        """Add what `_deflated` made of a text of `size` bytes with this checksum."""
        self._flush()
        self._parts.append(block)
        self._sum(size, adler)

    def deflate(self, text: bytes) -> None:
        """Add a text, deflated."""
        self.add(_deflated(text), len(text), zlib.adler32(text))

    def close(self) -> Packed:
        """The stream, with its end and checksum."""
        self._flush()
        self._parts.append(b"\x03\x00" + struct.pack(">I", self._high << 16 | self._low))
        return Packed(b"".join(self._parts))

    def _flush(self) -> None:
        text = b"".join(self._waiting)
        self._waiting.clear()
        for at in range(0, len(text), _STORED_MOST):
            part = text[at : at + _STORED_MOST]
            self._parts += (struct.pack("<BHH", 0, len(part), len(part) ^ 0xFFFF), part)
        if text:
            self._sum(len(text), zlib.adler32(text))

    def _sum(self, size: int, adler: int) -> None:
        """Take a part's Adler-32 into that of the whole."""
        low, high = adler & 0xFFFF, adler >> 16
        self._high = (self._high + high + size % _ADLER * (self._low - 1)) % _ADLER
        self._low = (self._low + low - 1) % _ADLER
