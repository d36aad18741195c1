"""Components of a sequence as PNG files: one object's masks, and all of them in one picture.

A component is a folder of 8-bit grey PNG files, 0 outside and 255 inside, one for every frame of
its range, named by the frame's place in the sequence (`00031.png`). The combined pictures are
indexed: 0 is background, the k-th component k; where two overlap, the later one is seen.
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvat_io.frames import Colour
from cvat_io.masks import paint
from cvat_io.model import Mask
from errors import InputError

MOST_COMPONENTS = 255  # a palette has 256 entries, and 0 is background
_MOST_THREADS = 4
_LEVEL = 1  # masks are large areas of one value: higher levels gain little

Pixels = NDArray[np.uint8]
_Draw = Callable[[], bytes]


def name_of(place: int) -> str:
    """The name of the file of frame number `place` of the sequence."""
    return f"{place:05d}.png"


def write_component(
    folder: Path, frames: Iterable[tuple[int, Sequence[Mask]]], width: int, height: int
) -> int:
    """Write one component; returns how many frames it has.

    `frames`: places in the sequence with the masks to unite, none for an empty picture; boxes lie
    inside `width` x `height`. The files appear together and replace those of before.
    """
    empty = _png(np.zeros((height, width), np.uint8), None)

    def draw(masks: Sequence[Mask]) -> bytes:
        if not masks:
            return empty
        canvas = np.zeros((height, width), np.uint8)
        for mask in masks:
            paint(mask, canvas, 255)
        return _png(canvas, None)

    with _replacing_folder(folder) as new:
        return _write(new, ((place, partial(draw, masks)) for place, masks in frames))


def write_combined(
    folder: Path,
    components: Sequence[tuple[Path, Colour]],
    places: Sequence[int],
    width: int,
    height: int,
) -> int:
    """Write the combined pictures of the given frames; returns how many there are.

    `components`: their folders as `write_component` filled them, and their colours, at most 255.
    The files appear together and replace those of before; without components the folder goes.
    Raises InputError where a component's file is not as it was written.
    """
    if not components:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    palette: tuple[Colour, ...] = ((0, 0, 0), *(colour for _, colour in components))
    blank = _png(np.zeros((height, width), np.uint8), None)

    def draw(place: int) -> bytes:
        canvas = np.zeros((height, width), np.uint8)
        for number, (of, _) in enumerate(components, start=1):
            canvas[_inside(of / name_of(place), blank, (height, width))] = number
        return _png(canvas, palette)

    with _replacing_folder(folder) as new:
        return _write(new, ((place, partial(draw, place)) for place in places))


def remove_folder(folder: Path) -> None:
    """Remove a component's or the combined folder at once, as far as readers see."""
    if folder.is_dir():
        old = folder.with_name(f".old-{folder.name}")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def pack_folders(file: IO[bytes], root: Path, names: Sequence[str], beside: str) -> None:
    """Write a zip of the folders `names` in `root`, and of the file `beside` there.

    PNG files are packed already: they are stored as they are. A folder that is missing is left out.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.write(root / beside, beside)
        for name in names:
            if (root / name).is_dir():
                for path in sorted((root / name).glob("*.png")):
                    archive.write(path, f"{name}/{path.name}")


def _write(folder: Path, jobs: Iterable[tuple[int, _Draw]]) -> int:
    threads = max(1, min(_MOST_THREADS, os.cpu_count() or 1))
    waiting: deque[Future[None]] = deque()
    count = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="png") as pool:
        for place, draw in jobs:
            waiting.append(pool.submit(_put, folder / name_of(place), draw))
            count += 1
            if len(waiting) > 2 * threads:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
    return count


def _put(path: Path, draw: _Draw) -> None:
    with path.open("xb") as file:
        file.write(draw())
        file.flush()
        os.fsync(file.fileno())


def _inside(path: Path, blank: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a component on one frame; none where its range has no such frame."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return np.zeros(shape, np.bool_)
    if data == blank:
        return np.zeros(shape, np.bool_)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            pixels = np.asarray(image) if image.mode == "L" else np.zeros((0, 0), np.uint8)
    except (OSError, SyntaxError, ValueError) as exc:
        raise _changed(path) from exc
    if pixels.shape != shape:
        raise _changed(path)
    found: NDArray[np.bool_] = pixels > 127
    return found


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path.parent.name}/{path.name} is not as it was saved: save the component "
        f"{path.parent.name} again, or reset it."
    )


def _png(pixels: Pixels, palette: Sequence[Colour] | None) -> bytes:
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette([channel for colour in palette for channel in colour])
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=_LEVEL)
    return out.getvalue()


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder to fill; it takes the name `folder` when the block ends without an error.

    A crash between the two renames leaves the old one under a hidden name: it comes back here.
    """
    new = folder.with_name(f".new-{folder.name}")
    old = folder.with_name(f".old-{folder.name}")
    if old.is_dir() and not folder.exists():
        old.rename(folder)
    for stray in (new, old):
        shutil.rmtree(stray, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        for stray in (new, old):
            shutil.rmtree(stray, ignore_errors=True)
