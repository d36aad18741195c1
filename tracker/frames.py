"""Where pixels come from: an archive's images, a folder of images, or a video.

Every source gives RGB uint8 (H, W, 3), contiguous, all frames of one size. An image's EXIF
orientation is ignored on purpose: masks are drawn in the grid of the stored pixels, and a source
that turned some of its frames would lay them across their masks.

Pillow reads the images: it looks at the header before any pixel is unpacked, says when a file is
truncated (others fill the rest with grey), and never writes to stderr on its own.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Protocol, Self

import numpy as np
import PIL.Image

from errors import InputError
from tracker.protocol import Image
from tracker.video import VideoFrames

__all__ = [
    "FolderFrames",
    "FrameSource",
    "VideoFrames",
    "ZipFrames",
    "prefetch",
]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
MAX_PIXELS = 100_000_000

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")  # no format whose decoder runs other programs
# More than this an image file cannot need: 16-bit RGBA, unpacked, and 16 MiB for what is beside it.
_PIXEL_BYTES = 8
_SPARE_BYTES = 16 * 2**20
# Decoders report damaged data by any of these: they trip over what they do not check.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error,
    LookupError, TypeError, AttributeError, ArithmeticError,
)  # fmt: skip
_AHEAD_BYTES = 256 * 2**20  # decoded frames that may wait, whatever their size


class FrameSource(Protocol):
    """Frames by index 0..len-1, all of `width` x `height` pixels. Close it, or use `with`."""

    @property
    def width(self) -> int:
        """Pixels per row."""
        ...

    @property
    def height(self) -> int:
        """Rows."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> Image:
        """Frame `index` as RGB uint8 (H, W, 3); InputError names a file that cannot be read."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class _ImageFiles(ABC):
    """What archives and folders share: named image files, the first of which sets the size."""

    def __init__(self, names: Sequence[str], place: str, max_pixels: int) -> None:
        if not names:
            raise InputError(f"{place} holds no images: export it again with images.")
        self._names = tuple(names)
        self._place = place
        self._max_pixels = max_pixels
        self._size: tuple[int, int] | None = None

    def _measure(self) -> None:
        with self._open(self._names[0]) as file:
            self._size = self._header(file, self._names[0]).size

    @property
    def width(self) -> int:
        """Pixels per row."""
        assert self._size is not None
        return self._size[0]

    @property
    def height(self) -> int:
        """Rows."""
        assert self._size is not None
        return self._size[1]

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> Image:
        """Frame `index` as RGB uint8 (H, W, 3); InputError names a file that cannot be read."""
        if not 0 <= index < len(self._names):
            raise IndexError(f"frame {index} of {len(self._names)}")
        name = self._names[index]
        with self._open(name) as file:
            picture = self._header(file, name)
            try:
                with _unwarned():
                    return _rgb(picture)
            except _DAMAGED as exc:
                raise self._damaged(name) from exc

    def _header(self, file: BinaryIO, name: str) -> PIL.Image.Image:
        try:
            with _unwarned():
                picture = PIL.Image.open(file, formats=_FORMATS)
        except PIL.Image.DecompressionBombError as exc:
            raise self._too_large(name) from exc
        except _DAMAGED as exc:
            raise self._damaged(name) from exc
        if picture.width * picture.height > self._max_pixels:
            raise self._too_large(name)
        if self._size is not None and picture.size != self._size:
            raise InputError(
                f"Image {name} in {self._place} is {picture.width}x{picture.height} pixels, but "
                f"the first one, {self._names[0]}, is {self._size[0]}x{self._size[1]}: all frames "
                "must have one size."
            )
        return picture

    def _too_large(self, name: str) -> InputError:
        return InputError(
            f"Image {name} in {self._place} has more than {self._max_pixels:,} pixels: make it "
            "smaller, or raise MAX_IMAGE_PIXELS."
        )

    def _damaged(self, name: str) -> InputError:
        return InputError(
            f"Image {name} in {self._place} cannot be read, it is damaged or truncated (or no "
            "PNG, JPEG, BMP, WebP or TIFF): export it again."
        )

    @abstractmethod
    def _open(self, name: str) -> BinaryIO: ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ZipFrames(_ImageFiles):
    """Images of a zip archive: frame i is `members[i]`.

    The archive must have passed the checks for hostile archives; only images are checked here. A
    member is read whole, but never more of it than an image of the frames' size can need.
    """

    def __init__(self, path: Path, members: Sequence[str], max_pixels: int = MAX_PIXELS) -> None:
        super().__init__(members, path.name, max_pixels)
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as exc:
            raise InputError(f"{path.name} cannot be opened as a zip archive.") from exc
        try:
            self._measure()
        except BaseException:
            self._zip.close()
            raise

    def _open(self, name: str) -> BinaryIO:
        # The packed member is read whole: Pillow seeks, and seeking back inside a compressed
        # member would unpack it again from its start.
        try:
            info = self._zip.getinfo(name)
            if self._size is None:  # only the header is wanted yet
                most = min(info.file_size, _SPARE_BYTES)
            else:
                most = self._size[0] * self._size[1] * _PIXEL_BYTES + _SPARE_BYTES
                if info.file_size > most:
                    raise InputError(
                        f"Image {name} in {self._place} unpacks to {info.file_size:,} bytes, but "
                        f"frames of {self._size[0]}x{self._size[1]} pixels need at most {most:,}: "
                        "it is damaged; export it again."
                    )
            with self._zip.open(info) as member:
                return io.BytesIO(member.read(most))
        except KeyError as exc:
            raise InputError(f"Image {name} is missing in {self._place}.") from exc
        # RuntimeError: encrypted. NotImplementedError: an unknown compression.
        except (
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            RuntimeError,
            NotImplementedError,
        ) as exc:
            raise self._damaged(name) from exc

    def close(self) -> None:
        """Close the archive."""
        self._zip.close()


class FolderFrames(_ImageFiles):
    """Images directly in a folder, in the order of their names (2.png comes before 10.png)."""

    def __init__(self, folder: Path, max_pixels: int = MAX_PIXELS) -> None:
        try:
            names = [p.name for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
        except OSError as exc:
            raise InputError(f"The folder of images {folder} cannot be read.") from exc
        super().__init__(sorted(names, key=_natural), folder.name or str(folder), max_pixels)
        self._folder = folder
        self._measure()

    def close(self) -> None:
        """Nothing stays open between frames."""

    def _open(self, name: str) -> BinaryIO:
        try:
            return (self._folder / name).open("rb")
        except OSError as exc:
            raise InputError(f"Image {name} in {self._place} cannot be opened.") from exc


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that compares runs of digits as numbers; the name itself breaks ties."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], name


@contextmanager
def _unwarned() -> Iterator[None]:
    """Nothing follows from Pillow's warnings.

    What is damaged beyond reading is an error, and its ceiling of pixels is not ours.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _rgb(picture: PIL.Image.Image) -> Image:
    """Pixels as RGB uint8 (H, W, 3); alpha is dropped, 16-bit grey keeps its upper byte."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        wide = np.asarray(picture)
        grey = np.clip(wide >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode == "P":  # transparent entries would otherwise draw a warning
        picture.info.pop("transparency", None)
    # A copy, since Pillow lends its own read-only memory.
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def prefetch(
    source: FrameSource, indices: Iterable[int], depth: int = 8
) -> Generator[Image, None, None]:
    """Frames of `source` at `indices`, in that order, decoded ahead in a thread.

    At most `depth` decoded frames wait (fewer where frames are huge). An exception of the source
    comes out where its frame would have. Closing the generator ends the thread before it returns,
    so that the source may be closed right after.
    """
    room = max(1, min(depth, _AHEAD_BYTES // max(1, source.width * source.height * 3)))
    free = threading.Semaphore(room)
    done: SimpleQueue[Image | BaseException | None] = SimpleQueue()
    stop = threading.Event()

    def decode() -> None:
        try:
            for index in indices:
                free.acquire()
                if stop.is_set():
                    return
                done.put(source.read(index))
            done.put(None)
        # Not swallowed: it goes through the queue and is raised in the consumer's thread.
        except BaseException as exc:  # noqa: BLE001
            done.put(exc)

    thread = threading.Thread(target=decode, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := done.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            free.release()
            yield item
    finally:
        stop.set()
        free.release()
        thread.join()
