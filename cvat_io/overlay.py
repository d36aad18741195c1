"""An overlay video: the frames with their masks tinted and outlined, for people to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from cvat_io.atomic import replacing, require_writable, writing
from cvat_io.frames import Colour, label_colours, masks_by_frame
from cvat_io.masks import decode
from cvat_io.model import MaskShape
from cvat_io.reader import Export
from errors import InputError

Image = NDArray[np.uint8]

_TINT = 0.45  # share of the label's colour inside a mask


def write_overlay(
    out: Path,
    result: Export,
    frames: Iterable[tuple[int, Image]],
    fps: float = 25,
) -> None:
    """Write an MP4 with the masks of `result` drawn onto `frames`.

    `frames`: (absolute frame number, RGB uint8 (H, W, 3)), ascending, all of one size; frames may
    be missing. One frame at a time is in memory. H.264 where PyAV has an encoder, else MPEG-4.
    Video wants even sizes: odd ones repeat their last row or column. The file appears whole or not
    at all. Raises InputError when `out` cannot be written or no encoder takes frames of this size,
    ValueError when there is no frame. Have `require_fits` look at the archives first.
    """
    require_writable(out)
    drawn = _drawn(result, frames)
    first = next(drawn, None)
    if first is None:
        raise ValueError("no frame to draw on")
    height, width = (side + side % 2 for side in first.shape[:2])
    with writing(out):
        try:
            _encode(out, chain([first], drawn), width, height, fps)
        except av.FFmpegError as exc:
            if isinstance(exc.__context__, OSError):  # of our file, into which PyAV wrote
                raise exc.__context__ from None
            raise InputError(
                f"Frames of {width}x{height} pixels cannot be made into a video here "
                f"({exc.strerror}): use the format coco or masks."
            ) from exc


def _encode(out: Path, images: Iterator[Image], width: int, height: int, fps: float) -> None:
    with replacing(out) as file, av.open(file, "w", format="mp4") as container:
        codec = _codec()
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        if not isinstance(stream, VideoStream):
            raise TypeError(f"{codec} is no codec for video")
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "veryfast"}
        else:
            stream.bit_rate = 8_000_000
        for image in images:
            picture = av.VideoFrame.from_ndarray(_even(image), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _even(image: Image) -> Image:
    """Repeat the last row or column of an image with an odd number of them."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return image
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def draw(image: Image, masks: list[MaskShape], colours: dict[str, Colour]) -> Image:
    """Return a copy of `image` with masks tinted in their label's colour and outlined."""
    canvas = image.copy()
    for shape in masks:
        mask = shape.mask
        view = canvas[mask.top : mask.top + mask.height, mask.left : mask.left + mask.width]
        pixels = decode(mask)[: view.shape[0], : view.shape[1]]
        colour = np.array(colours[shape.label], dtype=np.float32)
        view[pixels] = (view[pixels] * (1 - _TINT) + colour * _TINT).astype(np.uint8)
        view[pixels & ~_inside(pixels)] = colour.astype(np.uint8)
    return canvas


def _inside(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose four neighbours are set too."""
    wide = np.pad(pixels, 1)
    inside: NDArray[np.bool_] = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return inside


def _drawn(result: Export, frames: Iterable[tuple[int, Image]]) -> Iterator[Image]:
    colours = label_colours(result.meta.labels)
    gathered = masks_by_frame(result)
    reached: int | None = None
    masks: list[MaskShape] = []
    for frame, image in frames:
        while reached is None or reached < frame:
            reached, masks = next(gathered, (frame, []))
        yield draw(image, masks if reached == frame else [], colours)


def _codec() -> str:
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"
