"""The note in a result's zip comment: JSON, packed as far as its length asks for.

A comment holds 65,535 bytes. A note that fits is plain JSON. In a longer one, texts that list
numbers ("0-9,12,40-60", as key frames are written) become bit maps: one bit a number, packed by
LZMA. A list of up to 400,000 numbers' range fits whatever it holds, one over millions when fewer
than about one in twenty is in it at random; patterns pack better.
"""

from __future__ import annotations

import base64
import json
import lzma
import re
from math import gcd
from typing import Any

import numpy as np

NOTE_VERSION = 1
COMMENT_BYTES = 65_535  # what a zip's comment can hold

_LISTS = "packed_lists"  # where a packed note keeps them; no note of its own uses this name
_LIST = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*")
_BITS_BYTES = 2**21  # of a bit map: 16 million numbers
_MOST_RUNS = 2**22  # of a list that is read: tens of megabytes of text
_MOST_LISTS = 4  # that are packed in a note that is read; ours have one
# A bit map has no structure of bytes or words that neighbours could foretell.
_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]


def pack_note(note: dict[str, Any]) -> bytes:
    """Return `note` as a zip comment, with "mask_relay" added.

    A list of numbers that does not fit even when packed is left out: what it says is then unknown
    to whoever reads the note. Raises ValueError when the rest alone is too long.
    """
    note = {"mask_relay": NOTE_VERSION} | note
    text = _json(note)
    if len(text) <= COMMENT_BYTES:
        return text
    lists = [k for k, v in note.items() if isinstance(v, str) and _LIST.fullmatch(v)]
    packed = {name: bits for name in lists if (bits := _to_bits(note[name])) is not None}
    plain = {name: value for name, value in note.items() if name not in packed}
    text = _json(plain | {_LISTS: packed})
    while len(text) > COMMENT_BYTES and lists:
        longest = max(lists, key=lambda name: len(_json(packed.get(name, plain.get(name)))))
        lists.remove(longest)
        packed.pop(longest, None)
        plain.pop(longest, None)
        text = _json(plain | {_LISTS: packed})
    if len(text) > COMMENT_BYTES:
        raise ValueError(f"a note of {len(text)} bytes does not fit a zip's comment")
    return text


def unpack_note(comment: bytes) -> dict[str, Any] | None:
    """Return the note in a zip's comment; None when there is none of ours, or a damaged one."""
    try:
        note = json.loads(comment.decode())
        if not isinstance(note, dict) or note.get("mask_relay") != NOTE_VERSION:
            return None
        lists = note.pop(_LISTS, {})
        if len(lists) > _MOST_LISTS:
            return None
        return note | {name: _from_bits(*value) for name, value in lists.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, lzma.LZMAError):
        return None


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _to_bits(text: str) -> list[Any] | None:
    """Pack a list of numbers as [first, halves, bits]; None where that would not give it back.

    Bit k stands for first + k * halves / 2; a range has all bits from its first to its last.
    """
    items = [item.partition("-") for item in text.split(",")]
    bounds = np.array([(int(a), int(b or a)) for a, _, b in items], dtype=np.int64)
    first = int(bounds[0, 0])
    steps = np.diff(bounds.ravel())
    if (steps < 0).any():
        return None
    unit = gcd(*np.unique(steps).tolist()) or 1
    # Items that touch would come back as one range: then a clear bit goes between neighbours.
    touching = (bounds[1:, 0] - bounds[:-1, 1] <= unit).any()
    halves = unit if touching else 2 * unit
    places = (bounds - first) * 2 // halves
    size = int(places[-1, 1]) + 1
    if size > _BITS_BYTES * 8:
        return None
    edges = np.zeros(size + 1, dtype=np.int8)
    np.add.at(edges, places[:, 0], 1)
    np.add.at(edges, places[:, 1] + 1, -1)
    bits = np.packbits(np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)).tobytes()
    packed = lzma.compress(bits, lzma.FORMAT_RAW, filters=_LZMA)
    found = base64.b85encode(packed).decode()
    return [first, halves, found] if _from_bits(first, halves, found) == text else None


def _from_bits(first: int, halves: int, packed: str) -> str:
    if type(first) is not int or type(halves) is not int:
        raise TypeError("a list's first number and step are whole numbers")
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA)
    data = unpacker.decompress(base64.b85decode(packed), _BITS_BYTES)
    if not unpacker.eof:
        raise ValueError("a list that is cut off or too long")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
    edges = np.flatnonzero(np.diff(bits, prepend=np.uint8(0), append=np.uint8(0)))
    if edges.size > 2 * _MOST_RUNS:
        raise ValueError("more runs than a list has")
    starts = (first + edges[0::2] * halves // 2).tolist()
    stops = (first + (edges[1::2] - 1) * halves // 2).tolist()
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, stops, strict=True))
