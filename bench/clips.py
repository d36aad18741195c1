"""Real video with human masks, for benches and tests: found in a folder, written as an export.

Two layouts are known. *Ours*, as in ../shared/clips: NAME/images/%05d.jpg and NAME/masks/%05d.png.
*DAVIS*: JPEGImages/480p/NAME/*.jpg and Annotations/480p/NAME/*.png. A frame without a mask file was
not annotated. In a mask file 0 is background; 255 says that there is one object, which is all that
is not background; otherwise every value is an object of its own (palette files of DAVIS 2017).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cvat_io.build import write_export
from cvat_io.masks import encode_labels
from cvat_io.model import Label, MaskShape
from errors import InputError

CLIPS = Path(__file__).parents[1].parent / "shared" / "clips"
ONE = 255  # the value of the one object
_COLORS = ("#ff0000", "#00c000", "#0060ff", "#ffb000", "#c000ff", "#00c0c0")


@dataclass(frozen=True, slots=True)
class Footage:
    """A clip on disk. `masks`: for each of `images` its human masks, None where nobody drew any."""

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path | None, ...]

    def cut(self, length: int | None) -> Footage:
        """The clip's first `length` frames; None for all."""
        return Footage(self.name, self.images[:length], self.masks[:length])

    def labels(self, index: int) -> NDArray[np.uint8] | None:
        """The human masks of a frame by object number, (H, W); None where nobody drew any."""
        mask = self.masks[index]
        return None if mask is None else read_mask(mask)

    def keys(self, every: int) -> tuple[int, ...]:
        """Frames 0, `every`, 2 `every`, ... that have a mask; 0 for the first frame only."""
        indices = range(0, len(self.images), every) if every else (0,)
        return tuple(i for i in indices if (found := self.labels(i)) is not None and found.any())


def clip_names(data: Path = CLIPS) -> tuple[str, ...]:
    """Names of the clips in `data`, in either layout; () where there is no such folder."""
    images, _ = _layout(data)
    if not images.is_dir():
        return ()
    ours = images == data
    return tuple(
        sorted(
            entry.name
            for entry in images.iterdir()
            if entry.is_dir() and (not ours or (entry / "images").is_dir())
        )
    )


def find_clip(name: str, data: Path = CLIPS) -> Footage:
    """The clip `name` of `data`, from its first frame on that shows an object in its human mask.

    Raises InputError where there is no such clip or no frame of it has a mask.
    """
    if name not in clip_names(data):
        known = ", ".join(clip_names(data)) or "none"
        raise InputError(f"There is no clip {name!r} in {data} (there are: {known}).")
    images, masks = _layout(data)
    if images == data:
        images, masks = data / name / "images", data / name / "masks"
    else:
        images, masks = images / name, masks / name
    files = sorted(file for file in images.iterdir() if file.suffix.lower() in {".jpg", ".png"})
    drawn = [masks / f"{file.stem}.png" for file in files]
    found = [mask if mask.is_file() else None for mask in drawn]
    for first, mask in enumerate(found):
        if mask is not None and read_mask(mask).any():
            return Footage(name, tuple(files[first:]), tuple(found[first:]))
    raise InputError(f"No frame of the clip {name!r} has a mask in {masks}: add one, or leave it.")


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask file as object numbers (H, W), 0 for background, `ONE` where there is one object."""
    with Image.open(path) as image:
        if image.mode == "P":
            return np.array(image, dtype=np.uint8)
        pixels = np.array(image.convert("L"), dtype=np.uint8)
        several = image.mode == "L" and pixels.max(initial=0) < ONE
    return pixels if several else np.where(pixels > 0, ONE, 0).astype(np.uint8)


def label_of(number: int) -> str:
    """The label that an object has in the export, and by which it is known in the result."""
    return "object" if number == ONE else f"object {number}"


def write_footage(
    path: Path,
    clip: Footage,
    keys: Sequence[int],
    *,
    job_id: str = "1",
    compression: int = 1,
) -> tuple[int, int]:
    """Write a clip as CVAT would export it, with its human masks on the frames `keys`.

    Frames count from 0. Every object has a label of its own. `compression`: of the images, 0 to 9.
    Returns width and height. Raises InputError where a mask does not fit its image.
    """
    with Image.open(clip.images[0]) as first:
        width, height = first.size
    masks, numbers = [], set()
    for index in keys:
        drawn = clip.labels(index)
        if drawn is None:
            continue
        if drawn.shape != (height, width):
            raise InputError(
                f"{clip.masks[index]} has {drawn.shape[1]}x{drawn.shape[0]} pixels and its image "
                f"{width}x{height}: give masks of the same size."
            )
        for number, mask in encode_labels(drawn).items():
            numbers.add(number)
            masks.append(MaskShape(frame=index, label=label_of(number), mask=mask))
    write_export(
        path,
        frames=_pngs(clip.images, compression),
        width=width,
        height=height,
        labels=[
            Label(label_of(number), _COLORS[k % len(_COLORS)], "mask")
            for k, number in enumerate(sorted(numbers))
        ],
        masks=masks,
        job_id=job_id,
        stop_frame=len(clip.images) - 1,
    )
    return width, height


def _layout(data: Path) -> tuple[Path, Path]:
    """The folders whose folders are clips, of images and of masks."""
    if (data / "JPEGImages").is_dir():
        return data / "JPEGImages" / "480p", data / "Annotations" / "480p"
    return data, data


def _pngs(files: Sequence[Path], compression: int) -> Iterator[tuple[int, bytes]]:
    for index, file in enumerate(files):
        packed = io.BytesIO()
        with Image.open(file) as image:
            image.convert("RGB").save(packed, "PNG", compress_level=compression)
        yield index, packed.getvalue()
