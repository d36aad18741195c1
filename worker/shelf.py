"""Masks laid aside by frame, outside of memory: files name them in any order, results need one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np

from cvat_io.model import Mask, MaskShape

_NO_RUNS = np.empty(0, dtype=np.int32)


class Shelf:
    """Run lengths in an unnamed temporary file, all else in memory; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where the file lies; the system's own for such files may be memory."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._entries: dict[int, list[tuple[MaskShape, int, int]]] = {}
        self._end = 0

    def fill(self, shapes: Iterable[MaskShape]) -> Self:
        """Lay masks aside."""
        for shape in shapes:
            data = shape.mask.runs.astype(np.int32, copy=False).tobytes()
            self._file.write(data)
            entry = (bare(shape), self._end, len(data))
            self._entries.setdefault(shape.frame, []).append(entry)
            self._end += len(data)
        return self

    def bare(self, frame: int) -> list[MaskShape]:
        """The shapes of a frame in file order, without run lengths."""
        return [shape for shape, _, _ in self._entries.get(frame, ())]

    def take(self, frame: int) -> list[MaskShape]:
        """The shapes of a frame in file order."""
        shapes = []
        for shape, start, size in self._entries.get(frame, ()):
            self._file.seek(start)
            runs = np.frombuffer(self._file.read(size), dtype=np.int32)
            shapes.append(replace(shape, mask=replace(shape.mask, runs=runs)))
        return shapes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def bare(shape: MaskShape) -> MaskShape:
    """A shape whose mask has a box and no run lengths."""
    mask = shape.mask
    return replace(shape, mask=Mask(mask.left, mask.top, mask.width, mask.height, _NO_RUNS))
