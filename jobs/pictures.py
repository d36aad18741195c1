"""`Pictures`: frames of a job as image files for pages, scaled down, with masks where asked for.

An image's EXIF orientation is ignored on purpose, as by whatever tracks it: masks are drawn in the
grid of the stored pixels. What is scaled is kept among the derived files.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import IO

import numpy as np
import PIL.Image

from config import Limits
from cvat_io.reader import open_export
from cvat_io.stills import Stills
from errors import InputError, NotFoundError
from jobs import store
from jobs.db import Database
from jobs.derived import Derived
from jobs.drawing import draw_mask, rgb
from jobs.files import JobFiles
from jobs.frames_text import describe, format_frames
from jobs.layer_build import colours_of, mask_of
from jobs.layer_views import SESSION, FrameLabelView, FramesView, MaskEntry
from jobs.layers import Layers, frames_of, newest_revision
from jobs.models import Revision

LEAST_WIDTH, MOST_WIDTH = 16, 8192
WIDTHS = (32, 64, 160, 320, 480, 640, 960, 1280, 1920, 2560, 3840, MOST_WIDTH)
"""What pictures are scaled to: else somebody could fill the disk with one frame at any width. They
are those that our pages ask for, and what screens are wide.
"""
QUALITY = 90
THUMBNAIL_WIDTH = 320
_AT_ONCE = 4  # pictures that are decoded at once: one may take hundreds of megabytes
_VIEWS = 64  # jobs whose frames stay in memory
_OPEN = 8  # archives whose images' places stay in memory
_FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "BMP": "image/bmp", "WEBP": "image/webp"}
_READ = (*_FORMATS, "TIFF")  # which no browser shows, so that it is sent as JPEG
_ORIENTATION = 0x0112  # of EXIF
# Pillow trips over what it does not check.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, zlib.error, struct.error,
    LookupError, TypeError, AttributeError, ArithmeticError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file. `version`: equal versions have equal bytes; `of_images`: of the archive."""

    mimetype: str
    version: str
    of_images: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class _Images:
    """The archive that holds a job's images. `path` is None where no revision has any."""

    job_id: str
    path: Path | None
    version: str
    annotations: Path
    revision: int
    frames: range
    keys: tuple[int, ...]


class Pictures:
    """The pictures of all jobs of one installation. Thread-safe."""

    def __init__(
        self,
        database: Database,
        files: JobFiles,
        derived: Derived,
        layers: Layers,
        limits: Limits,
    ) -> None:
        self._database = database
        self._files = files
        self._derived = derived
        self._layers = layers
        self._limits = limits
        self._turns = BoundedSemaphore(_AT_ONCE)
        self._lock = Lock()
        self._stills: OrderedDict[Path, Stills] = OrderedDict()
        self._views: OrderedDict[_Images, FramesView] = OrderedDict()

    def frames(self, job_id: str) -> FramesView:
        """Which frames a job has, and the labels of its masks. Raises NotFoundError."""
        images = self._images(job_id)
        with self._lock:
            known = self._views.get(images)
        if known is None:
            known = self._frames(images)
            with self._lock:
                self._views[images] = known
                while len(self._views) > _VIEWS:
                    self._views.popitem(last=False)
        return known

    def _frames(self, images: _Images) -> FramesView:
        with open_export(images.annotations, self._limits) as export:
            meta = export.meta
        missing: Sequence[int] = meta.frames
        width, height = meta.width or 0, meta.height or 0
        if images.path is not None:
            stills = self._stills_of(images.path)
            missing = sorted(set(meta.frames) - set(stills.frames))
            if not width and stills.frames:
                size = self._opened(stills.read(stills.frames[0]), stills.frames[0]).size
                width, height = size
        colours = colours_of(meta.labels)
        return FramesView(
            first=meta.frames[0],
            last=meta.frames[-1],
            step=meta.step,
            width=width,
            height=height,
            missing=format_frames(missing, meta.step),
            version=images.version,
            labels=tuple(FrameLabelView(name=n, color=c) for n, c in colours.items()),
        )

    def frame(self, job_id: str, frame: int, width: int | None, layer: str = "") -> Picture:
        """One frame: the file as it is, or a JPEG where `width` is given: the next of `WIDTHS`.

        `layer`: draw its masks into the picture. Nothing is decoded before `Picture.read` is
        called. Raises NotFoundError, and InputError (`read` too) for what cannot be used.
        """
        images = self._images(job_id)
        stills = self._require(images, frame)
        width = width and _usual(width)
        if layer:
            return self._drawn(images, stills, frame, width or MOST_WIDTH, layer)
        if width is None:
            data = stills.read(frame)
            picture = self._opened(data, frame)
            kind = _FORMATS.get(picture.format or "")
            if kind is not None and not _is_turned(picture):
                return Picture(kind, f"{images.version}-{frame}", images.version, lambda: data)
        path = self._derived.path(job_id, f"frames/{images.version}/{width or 0}/{frame}.jpg")
        return Picture(
            "image/jpeg",
            f"{images.version}-{frame}-{width or 0}",
            images.version,
            lambda: self._kept(path, lambda: self._scaled(stills, frame, width, [])),
        )

    def thumbnail(self, job_id: str, width: int) -> Picture:
        """The first key frame of the latest revision with its masks, or the first frame.

        `width`: the next of `WIDTHS` is taken. Raises NotFoundError where there is no image.
        """
        images, width = self._images(job_id), _usual(width)
        if images.path is None:
            raise _no_images(job_id)
        stills = self._stills_of(images.path)
        keys = [frame for frame in images.keys if frame in stills]
        there = stills.frames
        if not keys and not there:
            raise _no_images(job_id)
        frame = keys[0] if keys else there[0]
        layer = f"revision-{images.revision}" if keys else ""
        name = f"thumbnails/{images.revision}.{images.version}.{frame}.{width}.jpg"
        path = self._derived.path(job_id, name)
        return Picture(
            "image/jpeg",
            f"{images.version}-{images.revision}-{frame}-{width}-drawn",
            images.version,
            lambda: self._kept(
                path,
                lambda: self._scaled(stills, frame, width, self._masks(job_id, layer, frame)),
            ),
        )

    def _drawn(
        self, images: _Images, stills: Stills, frame: int, width: int, layer: str
    ) -> Picture:
        answer = self._layers.masks(images.job_id, layer, frame, frame)
        return Picture(
            "image/jpeg",
            f"{images.version}-{frame}-{width}-{layer}-{answer.version}",
            images.version,
            lambda: self._scaled(stills, frame, width, self._masks(images.job_id, layer, frame)),
        )

    def _masks(self, job_id: str, layer: str, frame: int) -> list[tuple[MaskEntry, str]]:
        """The masks of a frame, the lowest first, with their colours."""
        if not layer:
            return []
        if layer == SESSION:
            live = self._layers.live(job_id)
            entries = [] if live is None else list(live.entries([frame])[0].masks)
            colours = {each.name: each.color for each in self.frames(job_id).labels}
        else:
            file, _ = self._layers.open(job_id, layer)
            entries, colours = file.masks(file.on(frame)), file.head["colours"]
        return [(entry, colours.get(entry.label, "#808080")) for entry in entries]

    def _scaled(
        self,
        stills: Stills,
        frame: int,
        width: int | None,
        masks: Sequence[tuple[MaskEntry, str]],
    ) -> bytes:
        """A JPEG of the frame, of `width` at most, with masks drawn into it."""
        data = stills.read(frame)
        with self._turns, _reading(frame):
            picture = self._opened(data, frame)
            whole = picture.size
            if width is not None and width < whole[0]:
                size = (width, max(1, round(whole[1] * width / whole[0])))
                picture.draft("RGB", size)
                scaled = rgb(picture).resize(size, PIL.Image.Resampling.BILINEAR, reducing_gap=1.0)
            else:
                scaled = rgb(picture)
            if masks:
                pixels = np.array(scaled)
                for entry, colour in masks:
                    draw_mask(pixels, mask_of(entry), colour, whole)
                scaled = PIL.Image.fromarray(pixels)
            file = io.BytesIO()
            scaled.save(file, "JPEG", quality=QUALITY)
            return file.getvalue()

    def _kept(self, path: Path, make: Callable[[], bytes]) -> bytes:
        """What the derived file `path` holds; where the disk refuses to keep it, what was made."""
        if self._derived.used(path):
            try:
                return path.read_bytes()
            except OSError:  # removed just now
                return make()
        data = make()
        try:
            self._derived.make(path, lambda file: _write(file, data))
        except OSError:
            return data
        return data

    def _opened(self, data: bytes, frame: int) -> PIL.Image.Image:
        """An image whose header is read and sound, and no pixel."""
        with _reading(frame):
            picture = PIL.Image.open(io.BytesIO(data), formats=_READ)
        if picture.width * picture.height > self._limits.image_pixels:
            raise InputError(
                f"The image of frame {frame} has more than {self._limits.image_pixels:,} pixels: "
                "make it smaller, or raise MAX_IMAGE_PIXELS."
            )
        return picture

    def _require(self, images: _Images, frame: int) -> Stills:
        if frame not in images.frames:
            raise NotFoundError(
                f"Frame {frame} is none of job {images.job_id}: {describe(images.frames)}."
            )
        if images.path is None:
            raise _no_images(images.job_id)
        stills = self._stills_of(images.path)
        if frame not in stills:
            raise NotFoundError(
                f"Frame {frame} of job {images.job_id} has no image: it was deleted in CVAT, or "
                "left out of the export."
            )
        return stills

    def _images(self, job_id: str) -> _Images:
        with self._database.read() as session:
            revision = newest_revision(session, job_id)
            number: int | None = revision.number
            if not revision.summary["has_images"]:
                number = store.images_revision(session, job_id, revision.summary)
            of = None if number is None else session.get_one(Revision, (job_id, number))
        annotations = self._files.revision(job_id, revision.number) / revision.file
        if not annotations.is_file():
            raise NotFoundError(
                f"The files of job {job_id} are not in DATA_DIR: upload its export again."
            )
        path = None if of is None else self._files.revision(job_id, of.number) / of.file
        return _Images(
            job_id,
            path if path is not None and path.is_file() else None,
            "" if of is None else of.sha256[:16],
            annotations,
            revision.number,
            frames_of(revision),
            tuple(revision.summary["key_frames"]),
        )

    def _stills_of(self, path: Path) -> Stills:
        """Where an archive's images lie; an export that was received never changes."""
        with self._lock:
            known = self._stills.get(path)
            if known is not None:
                self._stills.move_to_end(path)
                return known
        with open_export(path, self._limits) as export:
            found = Stills.of(export)
        with self._lock:
            self._stills[path] = found
            while len(self._stills) > _OPEN:
                self._stills.popitem(last=False)
        return found


def _usual(width: int) -> int:
    """The least of `WIDTHS` that is not less than a width."""
    return next((each for each in WIDTHS if each >= width), MOST_WIDTH)


def _no_images(job_id: str) -> NotFoundError:
    return NotFoundError(
        f'No export of job {job_id} has images: export it again with "Save images" switched on.'
    )


def _write(file: IO[bytes], data: bytes) -> None:
    file.write(data)


@contextmanager
def _reading(frame: int) -> Iterator[None]:
    """Turn what Pillow says of a damaged image into a sentence; its warnings mean nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PIL.Image.DecompressionBombError as exc:
        raise InputError(f"The image of frame {frame} has far too many pixels.") from exc
    except _DAMAGED as exc:
        raise InputError(
            f"The image of frame {frame} cannot be read, it is damaged or truncated (or no PNG, "
            "JPEG, BMP, WebP or TIFF): export the job again with images."
        ) from exc


def _is_turned(picture: PIL.Image.Image) -> bool:
    """Whether a browser would turn it."""
    try:
        return picture.getexif().get(_ORIENTATION, 1) not in (0, 1)
    except _DAMAGED:  # no browser could read it either
        return False
