"""What a worker keeps in memory of a live session: pictures, the archive's masks, the last pass."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config import Limits
from cvat_io.reader import open_export
from errors import InputError
from jobs.session_base import Base
from tracker.frames import ZipFrames
from tracker.protocol import Image
from worker.pipeline import SpanFrames, StageClock

_IMAGE_BYTES = 256 * 2**20  # of decoded pictures that one session keeps


class Pictures:
    """A session's frames, decoded when asked for or a little before; the latest ones are kept."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        """Raises InputError for an archive that cannot be read or holds no images."""
        with open_export(archive, limits) as export:
            meta = export.meta
            self.frames = tuple(sorted(export.images))
            members = [export.images[frame] for frame in self.frames]
        self._source = ZipFrames(archive, members, limits.image_pixels)
        self._reader = SpanFrames(self._source, self.frames, StageClock(), archive.name)
        try:
            self._reader.require_size(meta.width, meta.height)
        except InputError:
            self._source.close()
            raise
        self.height, self.width = self._source.height, self._source.width
        self._most = max(4, _IMAGE_BYTES // (3 * self.height * self.width))
        self._kept: OrderedDict[int, Image] = OrderedDict()
        self._lock = threading.Lock()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def read(self, frame: int) -> Image:
        """One frame, RGB uint8 (H, W, 3). Raises InputError for one that cannot be read."""
        with self._lock:
            image = self._kept.get(frame)
            if image is not None:
                self._kept.move_to_end(frame)
                return image
        image = self._reader.read(frame)
        with self._lock:
            self._kept[frame] = image
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return image

    def want(self, frames: Sequence[int]) -> None:
        """Decode frames behind the caller, who will ask for them soon."""
        for frame in frames:
            self._ahead.submit(self._read_quietly, frame)

    def close(self) -> None:
        """Let go of the archive."""
        self._ahead.shutdown(wait=True, cancel_futures=True)
        self._source.close()

    def _read_quietly(self, frame: int) -> None:
        with suppress(InputError):  # whoever asks for the frame is told
            self.read(frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a desk was made for; where any of it changes, another one is made."""

    job_id: str
    revision: int
    began: int
    base: Path
    images: Path


class Desk:
    """One session, as long as its facts are the same. Close it in the end."""

    def __init__(self, facts: Facts, limits: Limits) -> None:
        self.facts = facts
        self.base = Base(facts.base)
        self.pictures = Pictures(facts.images, limits)
        self.kept: dict[str, object] = {}

    def close(self) -> None:
        """Let go of files."""
        self.pictures.close()


class Desks:
    """The sessions that a loop served last."""

    def __init__(self, limits: Limits, most: int = 2) -> None:
        self._limits = limits
        self._most = most
        self._desks: OrderedDict[str, Desk] = OrderedDict()

    def of(self, facts: Facts) -> Desk:
        """The desk for a session. Raises InputError where its files cannot be read."""
        desk = self._desks.get(facts.job_id)
        if desk is not None and desk.facts == facts:
            self._desks.move_to_end(facts.job_id)
            return desk
        if desk is not None:
            del self._desks[facts.job_id]
            desk.close()
        desk = self._desks[facts.job_id] = Desk(facts, self._limits)
        while len(self._desks) > self._most:
            self._desks.popitem(last=False)[1].close()
        return desk

    def forget(self, job_id: str) -> None:
        """Keep nothing of a session: what went wrong may lie in it."""
        desk = self._desks.pop(job_id, None)
        if desk is not None:
            desk.close()

    def close(self) -> None:
        """Let go of all of them."""
        while self._desks:
            self._desks.popitem()[1].close()
