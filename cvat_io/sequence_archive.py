"""Sequences made into archives of the very form of an export: a list of images without masks.

All that follows (frames, layers, sessions, runs) reads them as it reads what CVAT wrote.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from config import Limits
from cvat_io.archive import Archive
from cvat_io.build import annotations_of, make_meta
from cvat_io.model import ExportKind, Label
from cvat_io.reader import ANNOTATIONS
from cvat_io.sequence import IMAGE_SUFFIXES, Found, SequenceKind, image_files, natural
from errors import InputError, one_line

Tell = Callable[[int, int], None]
"""Hears how many frames are done and how many there are, 0 where that is not known."""

LABELS = (
    Label("left", "#2f9e8f", "mask"),
    Label("right", "#e07a3f", "mask"),
    Label("object", "#7c5cd6", "mask"),
)
"""What a new sequence offers; a session may add others."""

_SUFFIX = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif"}
_HEAD_BYTES = 1 << 20  # of an image file: enough to learn its size
# More than this an image file cannot need: 16-bit RGBA, unpacked, and what is beside it.
_PIXEL_BYTES = 8
_SPARE_BYTES = 2**24
_LOOK_EVERY = 32  # frames after which free room is looked at
_KEEP_FREE = 256 * 2**20  # bytes that stay free on the disk: the database lives there too
# Pillow trips over what it does not check.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error,
    LookupError, TypeError, AttributeError, ArithmeticError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """A sequence's archive: how many frames it holds, and their size in pixels."""

    frames: int
    width: int
    height: int


def write_sequence(
    out: Path,
    source: Path,
    kind: SequenceKind,
    *,
    root: Path,
    job_id: str,
    limits: Limits,
    labels: Sequence[Label] = LABELS,
    tell: Tell,
) -> Made:
    """Write the archive `out` (a new file, flushed) with all frames of a sequence.

    `source`: a video, a folder of images, or a zip of images; `root`: what links in a folder may
    not lead out of. Image files are stored as they are, frames of a video as JPEG. The same
    source gives the same bytes. One frame at a time is in memory, of videos a few.

    Raises InputError for what is no sequence, for frames of different sizes, and beyond the
    limits or the room on the disk; `out` may then be left in part.
    """
    if kind is SequenceKind.VIDEO:
        try:
            from cvat_io.video import VideoPictures
        except ImportError as exc:
            raise InputError(
                "This server cannot read videos: install PyAV there (pip install av), or give the "
                "frames as images."
            ) from exc
        video = VideoPictures(source, limits)
        try:
            return _write(out, video, video.expected, job_id, limits, labels, tell)
        finally:
            video.close()
    if source.is_dir():
        files = image_files(source, root)
        pictures = _of_folder(files, limits)
        return _write(out, pictures, len(files), job_id, limits, labels, tell)
    with Archive(source, limits) as archive:
        names = _images_of(archive)
        pictures = _of_zip(archive, names, limits)
        return _write(out, pictures, len(names), job_id, limits, labels, tell)


def first_picture(found: Found, root: Path, limits: Limits, most: int) -> bytes:
    """Return the first frame as a JPEG file of at most `most` pixels a side. Raises InputError."""
    if found.kind is SequenceKind.VIDEO:
        from cvat_io.video import VideoPictures

        video = VideoPictures(found.path, limits)
        try:
            name, _, data = next(iter(video))
        finally:
            video.close()
    else:
        first = image_files(found.path, root)[:1]
        name, _, data = next(_of_folder(first, limits), ("", "", b""))
    if not data:
        raise InputError(f"{one_line(found.name, 120)} holds no images: choose another folder.")
    out = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=tuple(_SUFFIX)) as image:
                image.draft("RGB", (most, most))
                small = image.convert("RGB")
                small.thumbnail((most, most))
                small.save(out, "JPEG", quality=85)
    except _DAMAGED as exc:
        raise _damaged(name) from exc
    return out.getvalue()


def _write(
    out: Path,
    pictures: Iterable[tuple[str, str, bytes]],
    expected: int,
    job_id: str,
    limits: Limits,
    labels: Sequence[Label],
    tell: Tell,
) -> Made:
    count = written = 0
    size = (0, 0)
    with out.open("x+b") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, suffix, data in pictures:
                size = _require_size(name, data, size if count else None)
                written += len(data)
                _require_room(out, count, written, limits)
                # Names of equal length: their order is that of the frames for every reader.
                archive.writestr(zipfile.ZipInfo(f"images/{count:06d}{suffix}"), data)
                count += 1
                tell(count, max(count, expected))
            if count == 0:
                raise InputError(
                    "There are no images in it: give a folder, or a zip, of PNG, JPEG, BMP, WebP "
                    "or TIFF files."
                )
            meta = make_meta(
                ExportKind.JOB, job_id, "", 0, count - 1, 1, *size, labels, mode="annotation"
            )
            parts = (p if isinstance(p, bytes) else p.encode() for p in annotations_of(meta, ()))
            archive.writestr(zipfile.ZipInfo(ANNOTATIONS), b"".join(parts))
        file.flush()
        os.fsync(file.fileno())
    return Made(count, *size)


def _require_size(name: str, data: bytes, expected: tuple[int, int] | None) -> tuple[int, int]:
    size, _ = _look_at(data[:_HEAD_BYTES], name)
    if expected is not None and size != expected:
        raise InputError(
            f"{name} has {size[0]} x {size[1]} pixels, but the first frame has {expected[0]} x "
            f"{expected[1]}: all frames of a sequence need one size."
        )
    return size


def _require_room(out: Path, count: int, written: int, limits: Limits) -> None:
    if count + 2 > limits.archive_members:
        raise InputError(
            f"The sequence has more than the {limits.archive_members - 1} frames that are taken: "
            "give a part of it, or raise MAX_ARCHIVE_MEMBERS."
        )
    if written > limits.archive_bytes:
        raise InputError(
            f"The frames need more than the {limits.archive_bytes} bytes that are taken: give a "
            "part of the sequence, or raise MAX_ARCHIVE_BYTES."
        )
    if count % _LOOK_EVERY == 0 and shutil.disk_usage(out.parent).free < _KEEP_FREE:
        raise InputError(
            "The server's disk is nearly full: make room in DATA_DIR, then open the sequence again."
        )


def _of_folder(files: Sequence[Path], limits: Limits) -> Iterator[tuple[str, str, bytes]]:
    for path in files:
        name = f'The image "{one_line(path.name, 100)}"'
        try:
            with path.open("rb") as file:
                size, suffix = _look_at(file.read(_HEAD_BYTES), name)
                most = _most_bytes(size, name, limits)
                file.seek(0)
                data = file.read(most + 1)
        except OSError as exc:
            raise InputError(
                f"{name} cannot be read ({exc.strerror or 'unknown reason'}): let the server read "
                "it, or take it away."
            ) from exc
        yield name, suffix, _require_few(data, most, name)


def _of_zip(
    archive: Archive, names: Sequence[str], limits: Limits
) -> Iterator[tuple[str, str, bytes]]:
    for member in names:
        name = f'The image "{one_line(member, 100)}"'
        size, suffix = _look_at(archive.head(member, _HEAD_BYTES), name)
        most = _most_bytes(size, name, limits)
        with archive.open(member) as stream:
            data = stream.read(most + 1)
        yield name, suffix, _require_few(data, most, name)


def _images_of(archive: Archive) -> list[str]:
    """Names of the archive's images in natural order; hidden ones are passed over."""
    if ANNOTATIONS in archive.entries:
        raise InputError(
            f"{one_line(archive.path.name, 120)} is an export of CVAT and no zip of images: upload "
            "it on the dashboard."
        )
    names = [
        name
        for name in archive.entries
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    ]
    return sorted(names, key=natural)


def _look_at(head: bytes, name: str) -> tuple[tuple[int, int], str]:
    """Width and height by the image's head, and the suffix that goes with what it really is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(head), formats=tuple(_SUFFIX)) as image:
                return image.size, _SUFFIX[image.format or ""]
    except Image.DecompressionBombError as exc:
        raise InputError(f"{name} has far too many pixels: scale the sequence down.") from exc
    except _DAMAGED as exc:
        raise _damaged(name) from exc


def _damaged(name: str) -> InputError:
    return InputError(
        f"{name} is damaged or no image: take it away, or write it again as PNG or JPEG."
    )


def _most_bytes(size: tuple[int, int], name: str, limits: Limits) -> int:
    if size[0] * size[1] > limits.image_pixels:
        raise InputError(
            f"{name} has {size[0]} x {size[1]} pixels, more than the limit of "
            f"{limits.image_pixels}: scale the sequence down, or raise MAX_IMAGE_PIXELS."
        )
    return size[0] * size[1] * _PIXEL_BYTES + _SPARE_BYTES


def _require_few(data: bytes, most: int, name: str) -> bytes:
    if len(data) > most:
        raise InputError(
            f"{name} has more bytes than its pixels can need: write it again as PNG or JPEG."
        )
    return data
