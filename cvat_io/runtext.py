"""Run lengths from text, many masks at a time, and to text.

CVAT writes "a, b, c" and reads whatever `int()` takes between commas. The form that CVAT writes is
read by a few vectorised steps over all bytes of a batch; anything else goes number by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cvat_io.model import RunLengths

_COMMA, _BLANK, _ZERO = 44, 32, 48
_WORD = 8  # digits that are read in one step; an image has fewer than 10^8 pixels
_ZEROS = np.uint64(0x3030303030303030)
_KEEP = np.array([(2**64 - 1) << (64 - 8 * n) & (2**64 - 1) for n in range(9)], dtype=np.uint64)
"""Bits of a word's last n digits; the last digit stands in the highest byte."""
_JOINS = tuple(
    (np.uint64((10**digits << bits) + 1), np.uint64(bits), np.uint64(keep))
    for digits, bits, keep in (
        (1, 8, 0x00FF00FF00FF00FF),
        (2, 16, 0x0000FFFF0000FFFF),
        (4, 32, 0x00000000FFFFFFFF),
    )
)
# Longer runs are rare, and a table that fits the cache is looked up fast. Six digits at most and
# ", " fill one 64-bit word.
_TABLE_SIZE = 1 << 16


def parse_rle(text: str, area: int) -> RunLengths:
    """Read one mask's run lengths. `area`: width * height of its box, at least 1.

    Raises ValueError with a short reason that fits behind "the run lengths ...".
    """
    found = _numbers(text.encode("ascii")) if text.isascii() else None
    if found is None:
        return _slowly(text, area)
    _require_sum(int(found[0].sum(dtype=np.int64)), area)
    return found[0]


def parse_many(texts: Sequence[str], areas: Sequence[int]) -> list[RunLengths | None]:
    """Read the run lengths of many masks at once.

    None stands for a text that is not in CVAT's plain form or does not add up to its area: see
    what `parse_rle` says of it. Each array owns its memory, so that keeping one mask does not keep
    its whole batch.
    """
    if not texts:
        return []
    try:
        raw = ", ".join(texts).encode("ascii")
    except UnicodeEncodeError:
        raw = b""
    found = _numbers(raw)
    if found is None:  # at least one text is unusual: find out which
        pairs = zip(texts, areas, strict=True)
        return [None] if len(texts) == 1 else [parse_many([t], [a])[0] for t, a in pairs]
    numbers, ends = found
    # A text's last number ends where the joined text up to and with it ends.
    lengths = np.fromiter((len(text) + 2 for text in texts), np.int64, len(texts))
    stops = np.searchsorted(ends, np.cumsum(lengths) - 3) + 1
    starts = np.append(0, stops[:-1])
    sound = np.add.reduceat(numbers, starts, dtype=np.int64) == np.asarray(areas)
    parts = zip(starts.tolist(), stops.tolist(), sound.tolist(), strict=True)
    return [numbers[start:stop].copy() if fits else None for start, stop, fits in parts]


def format_rle(runs: RunLengths) -> str:
    """Write run lengths as CVAT does: "a, b, c"."""
    if runs.size == 0:
        return ""
    if int(runs.max()) >= _TABLE_SIZE:
        return str(runs.tolist())[1:-1]
    return _words()[runs].tobytes().translate(None, b"\0")[:-2].decode("ascii")


def _numbers(raw: bytes) -> tuple[RunLengths, NDArray[np.int64]] | None:
    """Read "a, b, c" into numbers and the offset of each one's last digit; None if it is not so."""
    size = len(raw)
    # Eight blanks in front let the first number's word begin before the text does.
    padded = np.frombuffer(b" " * _WORD + raw, dtype=np.uint8)
    data = padded[_WORD:]
    commas = np.flatnonzero(data == _COMMA)
    ends = np.append(commas, size) - 1
    digits = np.empty(ends.size, dtype=np.int64)
    digits[0] = ends[0] + 1
    digits[1:] = np.diff(ends) - 2
    if digits.min() < 1 or digits.max() > _WORD:
        return None
    # Every byte is accounted for: a comma, the blank behind it, or a digit.
    if not (data[commas + 1] == _BLANK).all():
        return None
    if np.count_nonzero((data - _ZERO) < 10) != size - 2 * commas.size:
        return None
    words = np.ndarray((size + 1,), np.dtype("<u8"), padded.data, strides=(1,))
    # The word that ends at a number's last digit; what stands before its first digit becomes 0.
    value = (words.take(ends + 1) ^ _ZEROS) & _KEEP[digits]
    # Neighbours join, first digits to pairs, then pairs to fours, then both fours.
    for factor, shift, keep in _JOINS:
        value *= factor
        value >>= shift
        value &= keep
    return value.astype(np.int32), ends


def _slowly(text: str, area: int) -> RunLengths:
    """Read any list that CVAT's importer takes."""
    runs = []
    for piece in text.split(","):
        try:
            number = int(piece)
        except ValueError:
            raise ValueError(f'hold "{piece.strip()[:20]}", which is no whole number') from None
        if number < 0:
            raise ValueError(f"hold the negative number {piece.strip()[:20]}")
        if number >= 2**31:
            raise ValueError(f"add up to more than the {area} pixels of its box")
        runs.append(number)
    _require_sum(sum(runs), area)
    return np.array(runs, dtype=np.int32)


def _require_sum(total: int, area: int) -> None:
    if total != area:
        raise ValueError(f"add up to {total} pixels instead of the {area} of its box")


@cache
def _words() -> NDArray[np.uint64]:
    """For each number of the table its digits and ", " in eight bytes, padded with NUL."""
    numbers = np.arange(_TABLE_SIZE, dtype=np.int32)
    text = np.zeros((_TABLE_SIZE, 8), dtype=np.uint8)
    for column in range(6):
        unit = 10 ** (5 - column)
        digits = (numbers // unit % 10 + ord("0")).astype(np.uint8)
        text[:, column] = np.where((numbers >= unit) | (unit == 1), digits, 0)
    text[:, 6] = ord(",")
    text[:, 7] = ord(" ")
    return text.view(np.uint64).ravel()
