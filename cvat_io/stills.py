"""Image files of an export, read one at a time without opening the archive anew.

Checking the directory of an archive with thousands of images takes longer than reading one of them.
So where each lies is kept (some bytes an image, no open file), and a file is read from there.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvat_io.reader import Export
from errors import InputError

_LOCAL = struct.Struct("<4s22s2H")
_PLACE = np.dtype(
    [
        ("frame", "<i8"),
        ("offset", "<u8"),
        ("packed", "<u8"),
        ("size", "<u8"),
        ("crc", "<u4"),
        ("method", "<u2"),
    ]
)
_MOST_BYTES = 2**31  # of one image file


@dataclass(frozen=True, slots=True, eq=False)
class Stills:
    """Where the images of one archive lie. `path`: the archive, which must not change."""

    path: Path
    _places: NDArray[Any]

    @staticmethod
    def of(export: Export) -> Stills:
        """Note where the images of an open export lie."""
        rows = [
            (frame, info.header_offset, info.compress_size, info.file_size, info.CRC,
             info.compress_type)
            for frame, info in export.image_infos()
        ]  # fmt: skip
        return Stills(export.path, np.array(rows, dtype=_PLACE))

    @property
    def frames(self) -> list[int]:
        """Frames that have an image, ascending."""
        found: list[int] = self._places["frame"].tolist()
        return found

    def __contains__(self, frame: int) -> bool:
        return self._at(frame) is not None

    def read(self, frame: int) -> bytes:
        """The image file of a frame. Raises KeyError where it has none, InputError for damage."""
        at = self._at(frame)
        if at is None:
            raise KeyError(frame)
        place = self._places[at]
        damaged = InputError(
            f"The image of frame {frame} in {self.path.name} is damaged: export the job again with "
            "images."
        )
        size, packed = int(place["size"]), int(place["packed"])
        if max(size, packed) > _MOST_BYTES:
            raise damaged
        try:
            with self.path.open("rb") as file:
                file.seek(int(place["offset"]))
                signature, _, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
                if signature != b"PK\3\4":
                    raise damaged
                file.seek(name + extra, 1)
                data = file.read(packed)
            if place["method"] == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        except (struct.error, zlib.error, ValueError) as exc:
            raise damaged from exc
        except OSError as exc:
            raise InputError(
                f"{self.path.name} cannot be read ({exc.strerror or 'unknown reason'})."
            ) from exc
        if len(data) != size or zlib.crc32(data) != place["crc"]:
            raise damaged
        return data

    def _at(self, frame: int) -> int | None:
        at = int(np.searchsorted(self._places["frame"], frame))
        found = at < len(self._places) and int(self._places["frame"][at]) == frame
        return at if found else None
