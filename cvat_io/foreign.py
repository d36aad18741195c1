"""Archives that are something else: say what they are and what to export instead."""

from __future__ import annotations

import re

from cvat_io.archive import Archive
from errors import InputError

_AGAIN = 'export the task or the job as "CVAT for video 1.1".'

# The first pattern that fits a file's name decides; names are compared in lower case.
_KINDS = (
    (r"(.*/)?(task|project)\.json|(.*/)?manifest\.jsonl", "a CVAT backup"),
    (r"(.*/)?(instances|person_keypoints|captions|labels|panoptic)_[^/]*\.json", "a COCO data set"),
    (r"annotations/.*\.xml", "a Pascal VOC data set"),
    (r"(.*/)?segmentation(class|object)/.*|(.*/)?labelmap\.txt", "a data set of mask images"),
    (r"(.*/)?(gt\.txt|seqinfo\.ini|obj\.names|data\.yaml)", "a YOLO or MOT data set"),
    (r".*\.json", "a Datumaro or other JSON data set"),
)


def other_archive(archive: Archive) -> InputError:
    """Return what to say of a zip without annotations.xml at its root."""
    where = archive.path.name
    names = [name.lower() for name in archive.entries]
    if not names:
        return InputError(f"{where} is an empty archive: {_AGAIN}")
    if any(name.endswith("/annotations.xml") and "__macosx/" not in name for name in names):
        return InputError(
            f"{where} holds annotations.xml inside a folder: upload the archive as CVAT wrote it, "
            "with annotations.xml at its root."
        )
    for pattern, what in _KINDS:
        if any(re.fullmatch(pattern, name) for name in names):
            return InputError(f"{where} is {what}: {_AGAIN}")
    return InputError(f"{where} has no annotations.xml at its root: {_AGAIN}")


def images_format(where: str) -> InputError:
    """Return what to say of CVAT's other XML format."""
    return InputError(
        f'{where} is in the format "CVAT for images 1.1", which has no tracks: '
        'export again as "CVAT for video 1.1".'
    )
