"""The frames of a video as JPEG files: frame i is the i-th one that decoding from the start gives.

Videos come from strangers: only containers that cannot refer to other files are opened, and frames
beyond the limit are refused before memory is taken for them. A video's rotation mark is obeyed, so
that people see (and draw on) what they filmed.
"""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import av
import av.container
import av.error
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from config import Limits
from errors import InputError, one_line

QUALITY = 95
"""Of the JPEG files, with full resolution of colour: a fifth of a PNG's bytes, errors below noise.

Masks are drawn on these very pixels and tracked in them, so that nothing depends on the difference.
"""

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,asf"
_MOST_THREADS = 4


class VideoPictures:
    """A video's frames in order, read once from start to end. MemoryError passes through."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Open the video. Raises InputError for what is no video, or one of other containers."""
        self._name = one_line(path.name, 120)
        try:
            self._container = av.open(
                str(path),
                metadata_errors="replace",
                container_options={
                    "format_whitelist": _CONTAINERS,
                    "protocol_whitelist": "file",
                },
            )
        except MemoryError:  # an FFmpegError too, and no fault of the file's
            raise
        except (OSError, ValueError, av.error.FFmpegError) as exc:
            raise InputError(
                f"{self._name} cannot be opened as a video: convert it (for example to MP4 with "
                "ffmpeg), or give its frames as images."
            ) from exc
        if not self._container.streams.video:
            self._container.close()
            raise InputError(f"{self._name} holds no video: choose another file.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        # The head may lie: the decoder keeps to the limit by itself.
        self._stream.codec_context.options = {"max_pixels": str(limits.image_pixels)}
        width, height = self._stream.width, self._stream.height
        if width * height > limits.image_pixels:
            self._container.close()
            raise InputError(
                f"{self._name} has frames of {width} x {height} pixels, more than the limit of "
                f"{limits.image_pixels}: scale it down, or raise MAX_IMAGE_PIXELS."
            )

    @property
    def expected(self) -> int:
        """How many frames there are by the video's head; about right, 0 where it does not say."""
        if self._stream.frames:
            return self._stream.frames
        rate, duration = self._stream.average_rate, self._container.duration
        return round(float(rate) * duration / av.time_base) if rate and duration else 0

    def __iter__(self) -> Iterator[tuple[str, str, bytes]]:
        """Give (name for messages, suffix, bytes of a JPEG file); a few frames are in memory.

        Raises InputError where the video is damaged or its frames change their size.
        """
        threads = max(1, min(_MOST_THREADS, os.cpu_count() or 1))
        waiting: deque[Future[bytes]] = deque()
        number = 0
        with ThreadPoolExecutor(threads, thread_name_prefix="jpeg") as pool:
            for pixels in self._pixels():
                waiting.append(pool.submit(_jpeg, pixels))
                if len(waiting) > threads + 1:
                    yield f"frame {number}", ".jpg", waiting.popleft().result()
                    number += 1
            while waiting:
                yield f"frame {number}", ".jpg", waiting.popleft().result()
                number += 1

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _pixels(self) -> Iterator[NDArray[np.uint8]]:
        """Give all frames as RGB uint8 (H, W, 3), upright."""
        number, shape = 0, (0, 0)
        try:
            for frame in self._container.decode(self._stream):
                if number == 0:
                    shape = (frame.width, frame.height)
                elif (frame.width, frame.height) != shape:
                    raise InputError(
                        f"Frame {number} of {self._name} has {frame.width} x {frame.height} "
                        f"pixels, but the first one has {shape[0]} x {shape[1]}: all frames of a "
                        "sequence need one size; cut the video there."
                    )
                pixels = frame.to_ndarray(format="rgb24")
                turns = round(frame.rotation / 90) % 4
                yield np.ascontiguousarray(np.rot90(pixels, turns), dtype=np.uint8)
                number += 1
        except (MemoryError, BlockingIOError) as exc:  # the latter where no thread can be begun
            raise MemoryError from exc
        except (OSError, av.error.FFmpegError) as exc:
            raise self._damaged(number) from exc
        if number == 0:
            raise self._damaged(0)

    def _damaged(self, number: int) -> InputError:
        return InputError(
            f"{self._name} is damaged at frame {number}, or not whole: convert it again (for "
            "example to MP4 with ffmpeg)."
        )


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()
