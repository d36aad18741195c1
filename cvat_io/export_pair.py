"""A result and the export that brings its images: two archives that must be of one job."""

from __future__ import annotations

from dataclasses import replace

from cvat_io.reader import Export
from errors import InputError

_LIST = "annotation"  # CVAT's word for a task made from images, against "interpolation" (video)


def require_fits(result: Export, images: Export) -> None:
    """Raise InputError unless `result` and `images` are of one job: same frames, same size.

    Where only one of the two knows the size of the frames (the head of an image list does not say),
    `result` takes it over, so that its masks are checked against it from here on. An image list
    must come with its images, all of one size. Afterwards `result.meta` has width and height.
    """
    mine, other = result.meta, images.meta
    if (mine.frames, mine.mode) != (other.frames, other.mode):
        raise InputError(
            f"{result.path.name} has {_frames(result)}, but {images.path.name} has "
            f"{_frames(images)}: give the export that the result was made from."
        )
    width, height = mine.width or other.width, mine.height or other.height
    if width is None or height is None or (other.mode == _LIST and not images.images):
        raise InputError(
            f"{images.path.name} has no images, without which the frames' names and size are not "
            'known: export it again with "Save images" switched on.'
        )
    _require_size(result, images, (other.width or width, other.height or height), (width, height))
    if other.mode == _LIST:
        for frame, name in images.images.items():
            _require_size(result, images, images.image_size(frame), (width, height), name)
    result.meta = replace(mine, width=width, height=height)


def image_names(result: Export, images: Export) -> dict[int, str]:
    """Name the images as CVAT's COCO does, by absolute frame number.

    `frame_%06d.PNG` for a video; an image list's own paths. Call `require_fits` first.
    """
    if images.meta.mode == _LIST:
        return {frame: name.removeprefix("images/") for frame, name in images.images.items()}
    return {frame: f"frame_{frame:06d}.PNG" for frame in result.meta.frames}


def _require_size(
    result: Export,
    images: Export,
    found: tuple[int, int],
    expected: tuple[int, int],
    name: str = "",
) -> None:
    if found != expected:
        what = f'the image "{name}"' if name else "the first frame"
        raise InputError(
            f"{result.path.name} is for frames of {expected[0]}x{expected[1]} pixels, but {what} "
            f"of {images.path.name} has {found[0]}x{found[1]}: give the export that the result was "
            "made from."
        )


def _frames(export: Export) -> str:
    meta = export.meta
    every = f" in steps of {meta.step}" if meta.step != 1 else ""
    kind = "images" if meta.mode == _LIST else "frames of a video"
    return f"{len(meta.frames)} {kind} ({meta.start_frame} to {meta.stop_frame}{every})"
