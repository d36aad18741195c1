"""Look an export over before anything is done with it: what it holds, whether it can be tracked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from config import Limits
from cvat_io.model import MaskShape, Meta
from cvat_io.prompts import Kind
from cvat_io.reader import Export, open_export
from cvat_io.shapes import Oddity
from errors import InputError

# An image file is read whole: more than this it cannot need (16-bit RGBA, unpacked, and a profile).
_PIXEL_BYTES = 8
_SPARE_BYTES = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What an export holds.

    `key_frames`: absolute numbers, ascending, of frames with at least one mask whose label is not
    ignored. `masks_on_frames`: how many such masks each of them has. `imageless`: those of them
    whose image is not in the archive, where others are.
    `masks_by_label` counts all masks, `others_by_kind` all other tracks. `width`, `height`: 0 where
    neither the head nor an image says.
    """

    meta: Meta
    has_images: bool
    image_count: int
    key_frames: tuple[int, ...]
    masks_on_frames: dict[int, int]
    imageless: tuple[int, ...]
    masks_by_label: dict[str, int]
    others_by_kind: dict[str, int]
    warnings: tuple[str, ...]
    width: int
    height: int


def inspect(path: Path, limits: Limits, ignore_labels: frozenset[str] = frozenset()) -> Inspection:
    """Read an export from end to end, with the head of every image, and say what it holds.

    Raises InputError for whatever is not sound; see `require_trackable` for what is sound but
    cannot be tracked.
    """
    masks: Counter[str] = Counter()
    others: Counter[str] = Counter()
    key_frames: Counter[int] = Counter()
    oddities: dict[Oddity, list[tuple[int, str]]] = {}

    def note(oddity: Oddity, frame: int, track: str) -> None:
        found = oddities.setdefault(oddity, [(0, "")])
        found[0] = (found[0][0] + 1, "")
        if len(found) == 1:
            found.append((frame, track))

    with open_export(path, limits) as export:
        meta = export.meta
        _check_images(export, limits)
        for track in export.tracks(note):
            if isinstance(track, MaskShape):
                masks[track.label] += 1
                if track.label not in ignore_labels:
                    key_frames[track.frame] += 1
            else:
                others[track.kind] += 1
        images = export.images
        warnings = [*export.notices, *_about_frames(meta, images)]
    for oddity, found in oddities.items():
        warnings.append(_SENTENCES[oddity].format(count=found[0][0], place=_place(*found[1])))
    return Inspection(
        meta=meta,
        has_images=bool(images),
        image_count=len(images),
        key_frames=tuple(sorted(key_frames)),
        masks_on_frames=dict(key_frames),
        imageless=tuple(sorted(key_frames.keys() - images.keys())) if images else (),
        masks_by_label=dict(masks),
        others_by_kind=dict(others),
        warnings=tuple(warnings),
        width=meta.width or 0,
        height=meta.height or 0,
    )


def require_trackable(
    inspection: Inspection, *, images_elsewhere: bool = False, prompted: bool = False
) -> None:
    """Raise InputError with what to do when there is nothing to track, or nothing to see.

    `images_elsewhere`: an earlier export of the same job brings the images. `prompted`: rectangles
    or polygons are turned into masks.
    """
    if not inspection.masks_by_label and not prompted:
        kinds = ", ".join(sorted(inspection.others_by_kind))
        held = f" (it holds only: {kinds})" if kinds else ""
        able = [_SHAPES[kind] for kind in sorted(_SHAPES) if kind in inspection.others_by_kind]
        other = f", or let its {' and '.join(able)} become masks (option prompts)" if able else ""
        raise InputError(
            f"The export holds no masks{held}: draw masks on at least one frame in CVAT, save and "
            f"export again{other}."
        )
    if not inspection.key_frames and not prompted:
        labels = ", ".join(sorted(inspection.masks_by_label))
        raise InputError(
            f"All masks have labels that are to be ignored ({labels}): draw masks of another "
            "label or change IGNORE_LABELS."
        )
    if images_elsewhere:
        return
    if not inspection.has_images:
        raise InputError(
            'The export has no images: export again as "CVAT for video 1.1" with "Save images" '
            "switched on."
        )
    if inspection.imageless:
        raise InputError(
            f"Frame {inspection.imageless[0]} has masks but no image in the archive: export again "
            'with "Save images" switched on.'
        )


_SHAPES = {Kind.BOX: "rectangles", Kind.POLYGON: "polygons"}

_SENTENCES = {
    Oddity.FURTHER_MASK: (
        "{count} masks follow another mask in their track ({place}): they are kept as masks of "
        "their own."
    ),
    Oddity.OPENS_CLOSED: (
        "{count} mask tracks begin with outside=1 ({place}): that shape is no mask."
    ),
    Oddity.LOST_SHAPE: (
        "{count} shapes in mask tracks are no key masks ({place}): CVAT drops them on import, and "
        "so do we."
    ),
    Oddity.NO_KEY: (
        "{count} tracks have no key shape ({place}): CVAT may refuse to import them again."
    ),
    Oddity.EMPTY: ("{count} masks have no pixel ({place}): they are left out."),
    Oddity.DUPLICATE: ("{count} masks are in the file twice ({place}): each is taken once."),
}


def _place(frame: int, track: str) -> str:
    return f"first: frame {frame}, track {track}" if frame >= 0 else f"first: track {track}"


def _about_frames(meta: Meta, images: dict[int, str]) -> list[str]:
    sentences = []
    count = len(meta.frames)
    if meta.size != count:
        sentences.append(
            f"The head states {meta.size} frames, but {meta.start_frame} to {meta.stop_frame} in "
            f"steps of {meta.step} are {count}."
        )
    if images and len(images) < count:
        sentences.append(
            f"{count - len(images)} of {count} frames have no image (deleted in CVAT): they are "
            "left out."
        )
    if meta.overlap > 0 and meta.segments > 1:
        sentences.append(
            f"The task's jobs overlap by {meta.overlap} frames: CVAT may hold masks of those "
            "frames twice."
        )
    return sentences


def _check_images(export: Export, limits: Limits) -> None:
    meta = export.meta
    expected = (meta.width, meta.height)
    if meta.width is not None and meta.height is not None:
        _check_pixels(meta.width, meta.height, "A frame", limits)
    for frame, name in export.images.items():
        size = export.image_size(frame)
        _check_pixels(*size, f'The image "{name}"', limits)
        if size != expected:
            raise InputError(
                f'The image "{name}" of frame {frame} has {size[0]} x {size[1]} pixels, but '
                f"{expected[0]} x {expected[1]} were expected: all frames need the size that the "
                "annotations state; export again from CVAT."
            )
        most = size[0] * size[1] * _PIXEL_BYTES + _SPARE_BYTES
        if export.image_bytes(frame) > most:
            raise InputError(
                f'The image "{name}" of frame {frame} unpacks to {export.image_bytes(frame)} '
                f"bytes, more than {size[0]} x {size[1]} pixels can need ({most}): it is damaged "
                "or made to fill the memory; export again from CVAT."
            )


def _check_pixels(width: int, height: int, what: str, limits: Limits) -> None:
    if width * height > limits.image_pixels:
        raise InputError(
            f"{what} has {width} x {height} pixels, more than the limit of {limits.image_pixels}: "
            "scale the video down or raise MAX_IMAGE_PIXELS."
        )
