"""Frames of a video, exact: frame i is the i-th one that decoding from the start gives.

Opening reads the time stamps of all packets, without decoding them. A frame is then found by its
time stamp: seek to a key packet that is shown no later, decode forward, and take the frame whose
stamp is the wanted one. Frames that a seek's key packet cannot vouch for (the leading frames of an
open GOP, shown before their key packet but stored after it) are dropped and decoded from the key
packet before, so that they come out whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Self

import av
import av.container
import av.error
import numpy as np

from errors import InputError
from tracker.protocol import Image

_KEPT_BYTES = 256 * 2**20  # decoded frames kept for reading backward


class VideoFrames:
    """A video file as a frame source: RGB uint8 (H, W, 3), any order, quickest in order.

    Reading backward decodes a stretch once and keeps its last frames (256 MB of them). A video's
    rotation mark is ignored, as for images: frames come in the grid in which they are stored.

    Raises InputError when the file holds no video, cannot be read, has no usable time stamps, or
    has more than `max_pixels` pixels per frame.
    """

    def __init__(self, path: Path, max_pixels: int = 100_000_000) -> None:
        self._path = path
        self._container, self._stream = self._open()
        try:
            self._width, self._height = self._stream.width, self._stream.height
            if not 0 < self._width * self._height <= max_pixels:
                raise InputError(
                    f"{path.name} has frames of {self._width}x{self._height} pixels: at most "
                    f"{max_pixels:,} pixels per frame can be read (MAX_IMAGE_PIXELS)."
                )
            self._stamps, self._keys = self._index()
            self._index_of = {stamp: i for i, stamp in enumerate(self._stamps)}
            self._drop_undecodable_head()
        except BaseException:
            self._container.close()
            raise
        self._room = max(1, _KEPT_BYTES // (self._width * self._height * 3))
        self._kept: OrderedDict[int, Image] = OrderedDict()
        self._ahead: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._next: int | None = None  # index that `_ahead` gives next; None: it must seek first

    @property
    def width(self) -> int:
        """Pixels per row."""
        return self._width

    @property
    def height(self) -> int:
        """Rows."""
        return self._height

    def __len__(self) -> int:
        return len(self._stamps)

    def read(self, index: int) -> Image:
        """Frame `index` as RGB uint8 (H, W, 3); InputError where the video is damaged."""
        if not 0 <= index < len(self._stamps):
            raise IndexError(f"frame {index} of {len(self._stamps)}")
        if index not in self._kept:
            try:
                self._decode_up_to(index)
            except av.error.FFmpegError as exc:
                self._next = None
                raise self._damaged(f"at frame {index}") from exc
        # Handed out, not lent: the caller may draw into it.
        return self._kept.pop(index)

    def close(self) -> None:
        """Close the file."""
        self._ahead = iter(())
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> tuple[av.container.InputContainer, av.VideoStream]:
        try:
            container = av.open(str(self._path), metadata_errors="replace")
        except (OSError, av.error.FFmpegError) as exc:
            raise InputError(f"{self._path.name} cannot be opened as a video.") from exc
        if not container.streams.video:
            container.close()
            raise InputError(f"{self._path.name} holds no video.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        return container, stream

    def _index(self) -> tuple[list[int], list[int]]:
        """Time stamps of all packets and of the key packets, both ascending."""
        stamps: list[int] = []
        keys: list[int] = []
        try:
            for packet in self._container.demux(self._stream):
                if packet.size == 0 or packet.is_discard:  # the end's flush; cut by an edit list
                    continue
                if packet.pts is None:
                    raise self._unstamped()
                stamps.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except av.error.FFmpegError as exc:
            raise self._damaged("or truncated") from exc
        if not keys:
            raise self._damaged("or holds no frames")
        if len(set(stamps)) != len(stamps):
            raise self._unstamped()
        return sorted(stamps), sorted(keys)

    def _drop_undecodable_head(self) -> None:
        """Forget frames that come before the first one which the decoder gives.

        A video that was cut inside an open GOP begins with frames whose references are gone.
        """
        try:
            first = next(self._stretch(0), None)
        except av.error.FFmpegError as exc:
            raise self._damaged("at its first frame") from exc
        if first is None:
            raise self._damaged("or holds no frames")
        self._stamps = self._stamps[first[0] :]
        self._index_of = {stamp: i for i, stamp in enumerate(self._stamps)}

    def _stretch(self, key: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode (index, frame) pairs from key packet `key` on, or from the start when it is 0."""
        if key == 0:
            # Opened anew: not every container can seek to what lies before its first key packet.
            self._container.close()
            self._container, self._stream = self._open()
        else:
            self._container.seek(self._keys[key], stream=self._stream)
        whole_from: int | None = None
        for packet in self._container.demux(self._stream):
            if whole_from is None and packet.is_keyframe and key > 0:
                whole_from = packet.pts
            for frame in packet.decode():
                if frame.pts is None or frame.pts not in self._index_of:
                    continue
                if key == 0 or (whole_from is not None and frame.pts >= whole_from):
                    yield self._index_of[frame.pts], frame

    def _decode_up_to(self, index: int) -> None:
        """Decode until `_kept` holds `index`, and before it as many frames as there is room for."""
        key = max(0, bisect_right(self._keys, self._stamps[index]) - 1)
        # Going on is cheaper than seeking as long as no key packet lies in between.
        if not (
            self._next is not None
            and self._next <= index
            and self._keys[key] <= self._stamps[self._next]
        ):
            self._seek(key, index)
        for found, frame in self._ahead:
            self._next = found + 1 if found + 1 < len(self._stamps) else None
            if found > index - self._room:
                self._keep(found, frame)
            if found >= index:
                break
        if index not in self._kept:
            self._next = None
            raise self._damaged(f"at frame {index}")

    def _seek(self, key: int, index: int) -> None:
        """Let `_ahead` begin at or before `index`, at key packet `key` where the file allows."""
        self._kept.clear()
        while True:
            stretch = self._stretch(key)
            first = next(stretch, None)
            # Containers seek by decoding time, which may lead past the key packet that is meant.
            if key == 0 or (first is not None and first[0] <= index):
                break
            key -= 1
        self._ahead = chain([first] if first is not None else [], stretch)
        self._next = None

    def _keep(self, index: int, frame: av.VideoFrame) -> None:
        if (frame.width, frame.height) != (self._width, self._height):
            raise InputError(
                f"Frame {index} of the video {self._path.name} is {frame.width}x{frame.height} "
                f"pixels, but the first one is {self._width}x{self._height}: all frames must have "
                "one size."
            )
        self._kept[index] = np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)

    def _damaged(self, where: str) -> InputError:
        return InputError(
            f"The video {self._path.name} is damaged {where}: convert it again (for example to "
            "MP4 with ffmpeg)."
        )

    def _unstamped(self) -> InputError:
        return InputError(
            f"The video {self._path.name} has frames without a time stamp of their own, so that "
            "they cannot be told apart: convert it (for example to MP4 with ffmpeg)."
        )
