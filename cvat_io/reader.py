"""Open what CVAT exported as "CVAT for video 1.1": a job or a task, zip or bare XML."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from config import Limits
from cvat_io.archive import Archive
from cvat_io.foreign import images_format, other_archive
from cvat_io.meta import parse_meta
from cvat_io.model import MaskShape, Meta, OtherTrack
from cvat_io.readahead import ReadAhead
from cvat_io.shapes import (
    Note,
    Oddity,
    RawMask,
    read_raw_masks,
    read_tracks,
)
from cvat_io.xmlstream import Metered, Source, empty, events
from errors import InputError, one_line

ANNOTATIONS = "annotations.xml"
_VIDEO_IMAGE = re.compile(r"images/frame_([0-9]{6,9})\.png", re.IGNORECASE)
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEAD = struct.Struct(">8s4x4s2L")
_META_BYTES = 1 << 24  # of XML before the first track; thousands of labels are far less
_AHEAD_FROM_BYTES = 1 << 22  # a smaller file is read before a thread has started
_HEAD_BYTES = 1 << 20  # of an image file: enough to learn its size
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")  # those that frames are read from

# Pillow trips over what it does not check.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error,
    LookupError, TypeError, AttributeError, ArithmeticError,
)  # fmt: skip


class Export:
    """An open export; use it as a context manager.

    `path`: the file. `meta`: its head; width and height come from the first image where an image
    list's head lacks them. `images`: zip member by absolute frame number, ascending; {} when
    exported without images. `notices`: sentences on what is odd about the archive.
    """

    def __init__(self, path: Path, archive: Archive | None, where: str) -> None:
        """Read the head and the list of images; use `open_export`."""
        self.path = path
        self._archive = archive
        self._where = where
        self.meta = _require_meta(self.source(), where)
        self.images: dict[int, str] = {}
        self.notices: tuple[str, ...] = ()
        if archive is None:
            return
        self.images, strange = _list_images(archive, self.meta)
        self.notices = (*_extra_xml(archive), *strange)
        if self.meta.width is None and self.images:
            width, height = self.image_size(min(self.images))
            self.meta = replace(self.meta, width=width, height=height)

    def tracks(self, note: Note | None = None) -> Iterator[MaskShape | OtherTrack]:
        """Stream all masks and other tracks in file order; every call begins anew.

        `note` hears of oddities. Raises InputError that names frame and track.
        """
        return read_tracks(self.source(), self.meta, self._where, note or _ignore)

    def others(self) -> Iterator[OtherTrack]:
        """Stream the tracks without masks only, in file order; masks are passed over unread."""
        found = read_tracks(self.source(), self.meta, self._where, _ignore, with_masks=False)
        return (track for track in found if isinstance(track, OtherTrack))

    def raw_masks(self) -> Iterator[RawMask]:
        """Stream all masks in file order with run lengths as text, unread; see `tracks`."""
        return read_raw_masks(self.source(), self.meta, self._where)

    def source(self) -> Source:
        """Open annotations.xml as a stream of bytes."""
        if self._archive is None:
            return self.path.open("rb")
        member = self._archive.open(ANNOTATIONS)
        return ReadAhead(member) if member.size >= _AHEAD_FROM_BYTES else member

    def image_size(self, frame: int) -> tuple[int, int]:
        """Read width and height from the beginning of a frame's image; KeyError: no image."""
        name = self.images[frame]
        if self._archive is None:
            raise KeyError(frame)
        head = self._archive.head(name, _PNG_HEAD.size)
        if len(head) == _PNG_HEAD.size:
            signature, kind, width, height = _PNG_HEAD.unpack(head)
            if signature == _PNG and kind == b"IHDR" and width and height:
                return width, height
        return _size_by_pillow(self._archive.head(name, _HEAD_BYTES), name)

    def image_bytes(self, frame: int) -> int:
        """How many bytes a frame's image file states to have, unpacked; KeyError: no image."""
        name = self.images[frame]
        if self._archive is None:
            raise KeyError(frame)
        return self._archive.entries[name].size

    def image_infos(self) -> Iterator[tuple[int, zipfile.ZipInfo]]:
        """Give every frame that has an image, ascending, with its file's entry in the archive."""
        if self._archive is not None:
            for frame, name in self.images.items():
                yield frame, self._archive.info(name)

    @property
    def comment(self) -> bytes:
        """The zip's comment; empty for a bare XML file."""
        return self._archive.comment if self._archive is not None else b""

    @property
    def members(self) -> tuple[str, ...]:
        """Names of all files in the archive; () for a bare XML file."""
        return tuple(self._archive.entries) if self._archive is not None else ()

    def close(self) -> None:
        """Close the file."""
        if self._archive is not None:
            self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_export(path: Path, limits: Limits) -> Export:
    """Open an export and read its head and its list of images.

    Raises InputError for all that is no export of a job or task as "CVAT for video 1.1". Whether
    its shapes are sound turns out in `Export.tracks`, whether it can be tracked in
    `cvat_io.check`.
    """
    archive = open_archive(path, limits)
    try:
        if archive is not None and ANNOTATIONS not in archive.entries:
            raise other_archive(archive)
        if archive is not None:
            _require_one(archive)
        return Export(path, archive, ANNOTATIONS if archive is not None else path.name)
    except BaseException:
        if archive is not None:
            archive.close()
        raise


def _require_one(archive: Archive) -> None:
    """Refuse a second annotations.xml that differs in case only: nobody knows which is meant."""
    twin = next((n for n in archive.entries if n.lower() == ANNOTATIONS != n), None)
    if twin is not None:
        raise InputError(
            f'{archive.path.name} holds both "{ANNOTATIONS}" and "{twin}": zip it again with one '
            "of them."
        )


def _size_by_pillow(head: bytes, name: str) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            # Large pictures are our own limits' business, damaged EXIF data is nobody's.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(head), formats=_FORMATS) as image:
                return image.size
    except Image.DecompressionBombError as exc:
        raise InputError(
            f'The image "{name}" has far too many pixels: scale the video down.'
        ) from exc
    except _DAMAGED as exc:
        raise InputError(
            f'The image "{name}" is damaged or no image: export again with images.'
        ) from exc


def _ignore(oddity: Oddity, frame: int, track: str) -> None:
    """Hear of an oddity and go on."""


def open_archive(path: Path, limits: Limits) -> Archive | None:
    """Open a zip; None when the file is a bare XML document. Raises InputError for all else."""
    try:
        with path.open("rb") as file:
            begin = file.read(512)
    except OSError as exc:
        raise InputError(
            f"{path.name} cannot be opened ({exc.strerror or 'unknown reason'})."
        ) from exc
    if begin.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08")):
        return Archive(path, limits)
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"<", b"\xff\xfe<\0", b"\xfe\xff\0<")):
        if path.stat().st_size > limits.archive_bytes:
            raise InputError(
                f"{path.name} is larger than the limit of {limits.archive_bytes} bytes: export a "
                "smaller part or raise MAX_ARCHIVE_BYTES."
            )
        return None
    if not begin:
        raise InputError(f"{path.name} is empty: fetch it again from CVAT.")
    raise InputError(
        f"{path.name} is neither a zip archive nor an XML file: export the task or the job as "
        '"CVAT for video 1.1".'
    )


def _require_meta(source: Source, where: str) -> Meta:
    meta = read_meta(source, where)
    if meta is None:
        raise InputError(
            f"{where} has no head (<meta>) before its first track: export the task or the job "
            'again as "CVAT for video 1.1".'
        )
    return meta


def read_meta(source: Source, where: str, *, images_too: bool = False) -> Meta | None:
    """Read the head, None where there is none before the first track; `source` is closed.

    Raises InputError for a head that is not sound and, unless `images_too`, where images stand
    behind it instead of tracks.
    """
    meta = None
    source = Metered(
        source,
        _META_BYTES,
        f"{where} has a head (<meta>) of more than {_META_BYTES >> 20} MiB: export it again from "
        "CVAT.",
    )
    try:
        for event, element, depth in events(source, where):
            if event == "start" and depth == 2 and element.tag in ("track", "image"):
                if element.tag == "image" and not images_too:
                    raise images_format(where)
                break
            if event == "end" and depth == 2:
                if element.tag == "meta" and meta is None:
                    meta = element
                else:
                    empty(element)
        return None if meta is None else parse_meta(meta, where)
    finally:
        source.close()


def _list_images(archive: Archive, meta: Meta) -> tuple[dict[int, str], tuple[str, ...]]:
    names = [name for name in archive.entries if name.startswith("images/")]
    if not names:
        return {}, ()
    if meta.mode == "annotation":
        return _list_by_order(names, meta), ()
    images: dict[int, str] = {}
    strange = 0
    for name in names:
        found = _VIDEO_IMAGE.fullmatch(name)
        frame = int(found[1]) if found else -1
        if frame not in meta.frames:
            strange += 1
        elif frame in images:
            raise InputError(
                f"{archive.path.name} holds two images for frame {frame}: export it again from "
                "CVAT."
            )
        else:
            images[frame] = name
    if not images:
        raise InputError(
            f"No image in {archive.path.name} belongs to the frames {meta.start_frame} to "
            f"{meta.stop_frame} of its annotations.xml: export it again from CVAT with images."
        )
    notices = (f"{strange} files under images/ belong to no frame: they are not used.",)
    return dict(sorted(images.items())), notices if strange else ()


def _list_by_order(names: list[str], meta: Meta) -> dict[int, str]:
    """Give the images of an image list to its frames, where that can be known.

    The format has no file names: only the order of the task's images leads from frame to file,
    and that is CVAT's lexicographic order by default or a natural or a free one by choice.
    """
    plain, natural = sorted(names), sorted(names, key=_natural)
    if len(names) != len(meta.frames) or plain != natural:
        raise InputError(
            f"This is a list of images, of which {len(names)} are here for {len(meta.frames)} "
            "frames, and it cannot be known which image belongs to which frame: make a task from "
            "a video, or from images whose names have numbers of equal length."
        )
    return dict(zip(meta.frames, plain, strict=True))


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts img2 before img10, however many digits a name has."""
    pieces = re.split(r"([0-9]+)", name)
    for at in range(1, len(pieces), 2):
        pieces[at] = pieces[at].lstrip("0")
    # Numbers of equal length compare as their digits do.
    return [(len(p), p) if at % 2 else (-1, p) for at, p in enumerate(pieces)]


def _extra_xml(archive: Archive) -> tuple[str, ...]:
    extra = [n for n in archive.entries if n.lower().endswith(".xml") and n != ANNOTATIONS]
    if not extra:
        return ()
    return (
        f'Besides annotations.xml the archive holds "{one_line(extra[0], 100)}"'
        + (f" and {len(extra) - 1} more XML files" if len(extra) > 1 else "")
        + ": only annotations.xml is read (CVAT itself would import all of them).",
    )
