"""Components of a sequence as PNG files: one object's masks, and all of them in one picture.

A component is a folder of 8-bit grey PNG files, 0 outside and 255 inside, one for every frame of
its range, named by the frame's place in the sequence (`00031.png`). The combined pictures are
indexed: 0 is background, the k-th component k; where two overlap, the later one is seen.

A folder on its way in or out holds an empty file `.saving`: by it one that a crash left behind is
told from what somebody else put there.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import zipfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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
_MARK = ".saving"
_OWN = re.compile(rf"[0-9]{{5,}}\.png|{re.escape(_MARK)}")
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
    inside `width` x `height`. The files appear together and replace those of before. The folder
    stays marked until `settle` is told that it is on record.
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
        remove_folder(folder)
        return 0
    palette: tuple[Colour, ...] = ((0, 0, 0), *(colour for _, colour in components))
    blank = _png(np.zeros((height, width), np.uint8), None)

    def draw(place: int) -> bytes:
        canvas = np.zeros((height, width), np.uint8)
        for number, (of, _) in enumerate(components, start=1):
            canvas[_inside(of / name_of(place), blank, (height, width))] = number
        return _png(canvas, palette)

    with _replacing_folder(folder) as new:
        count = _write(new, ((place, partial(draw, place)) for place in places))
    settle(folder)
    return count


def remove_folder(folder: Path) -> None:
    """Remove a component's or the combined folder at once, as far as readers see."""
    if folder.is_dir():
        old = folder.with_name(f".old-{folder.name}")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def mark(folder: Path) -> None:
    """Note that a folder is about to go, so that `sweep` knows whose it is after a crash."""
    if folder.is_dir():
        (folder / _MARK).touch()


def settle(folder: Path) -> None:
    """Note that a folder is on record."""
    (folder / _MARK).unlink(missing_ok=True)


def sweep(root: Path, recorded: Collection[str]) -> None:
    """Clear away what crashes left in `root`; folders of the names `recorded` stay.

    One that was renamed and not yet replaced gets its name back. What holds a file that was not
    written here stays too.
    """
    for name in recorded:
        folder, old = root / name, root / f".old-{name}"
        if old.is_dir() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    for folder in [path for path in root.iterdir() if path.is_dir()]:
        if folder.name in recorded:
            settle(folder)
        elif _was_left(folder):
            shutil.rmtree(folder, ignore_errors=True)


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


def _was_left(folder: Path) -> bool:
    """Whether a folder that is on no record is one of ours, and holds nothing else."""
    hidden = folder.name.startswith((".new-", ".old-"))  # and may have lost its mark by now
    try:
        return (hidden or (folder / _MARK).exists()) and all(
            _OWN.fullmatch(path.name) for path in folder.iterdir()
        )
    except PermissionError:  # somebody else's, certainly
        return False


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
    mark(new)
    try:
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        for stray in (new, old):
            shutil.rmtree(stray, ignore_errors=True)
