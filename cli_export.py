"""The verb `export`: a result in another form."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from config import Limits, Settings
from console import note, say
from cvat_io.forms import TOLERANCE, Form
from errors import InputError

if TYPE_CHECKING:
    from cvat_io.reader import Export

_DONE = 0
_WORKERS_ONLY = {Form.POLYGONS: ("cv2", "pycocotools"), Form.OVERLAY: ("av",)}


def export(options: argparse.Namespace, settings: Settings) -> int:
    """Write a result as COCO, mask images, polygons, a video, or in parts."""
    from cvat_io.atomic import require_other

    form = Form(options.format)
    _require_stack(form)
    _require_sense(form, options)
    require_other(options.out, options.result, options.images)
    # Masks of still scenes pack better than a stranger's file may; they are streamed.
    limits = replace(settings.limits, archive_ratio=2**31)
    told: list[str] = []
    with _opened(options, limits) as (result, images):
        if form is Form.CVAT:
            from cvat_io.shards import write_parts

            for part in write_parts(options.out, result, options.shard_mb):
                say(f"{part.path}: frames {part.first} to {part.last}")
            return _DONE
        if form is Form.POLYGONS:
            from cvat_io.polygon_tracks import describe_polygons, write_polygons

            tolerance = TOLERANCE if options.tolerance is None else options.tolerance
            told += describe_polygons(write_polygons(options.out, result, tolerance))
        elif form is Form.COCO:
            from cvat_io.coco import write_coco

            write_coco(options.out, result, images)
        elif form is Form.MASKS:
            from cvat_io.pngs import write_masks

            write_masks(options.out, result, images)
        else:
            _overlay(options, result, images, settings.limits)
    say(str(options.out))
    for sentence in told:
        note(sentence)
    return _DONE


def _overlay(options: argparse.Namespace, result: Export, images: Export, limits: Limits) -> None:
    from cvat_io.export_pair import require_fits
    from cvat_io.overlay import write_overlay
    from tracker.frames import ZipFrames, prefetch

    if not images.images:
        raise InputError(
            f"{images.path.name} holds no images: export again with 'Save images' ticked."
        )
    require_fits(result, images)
    numbers = sorted(images.images)
    members = [images.images[n] for n in numbers]
    with ZipFrames(images.path, members, limits.image_pixels) as frames:
        decoded = prefetch(frames, range(len(numbers)))
        write_overlay(options.out, result, zip(numbers, decoded, strict=True))


@contextmanager
def _opened(options: argparse.Namespace, limits: Limits) -> Iterator[tuple[Export, Export]]:
    """The result, and the export with the images; the result again where none is given."""
    from cvat_io.reader import open_export

    with (
        open_export(options.result, limits) as result,
        open_export(options.images or options.result, limits) as images,
    ):
        yield result, images


def _require_sense(form: Form, options: argparse.Namespace) -> None:
    """Refuse options that the format has no use for, or lacks."""
    if form.needs_images and options.images is None:
        raise InputError(
            f"--format {form} needs the export with the images: give --images EXPORT.zip."
        )
    if form is not Form.POLYGONS and options.tolerance is not None:
        raise InputError(f"--tolerance is of --format polygons, not of {form}: leave it out.")
    if form is not Form.CVAT and options.shard_mb is not None:
        raise InputError(f"--shard-mb is of --format cvat, not of {form}: leave it out.")
    if form is Form.CVAT and options.shard_mb is None:
        raise InputError(
            f"{options.result} has the format cvat already: give --shard-mb N to cut it into parts."
        )


def _require_stack(form: Form) -> None:
    if any(find_spec(name) is None for name in _WORKERS_ONLY.get(form, ())):
        raise InputError(
            f"The form {form} needs the worker part of Mask Relay, which is not installed here: "
            "install it with `pip install 'mask-relay[worker]'` or, in a checkout, `make setup`."
        )
