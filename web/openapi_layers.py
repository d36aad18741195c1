"""What the OpenAPI document says of layers and pictures."""

from __future__ import annotations

from typing import Any

from jobs.layer_views import (
    DifferencesView,
    FrameEntry,
    FramesView,
    LayerList,
    TimelineView,
)
from jobs.pictures import LEAST_WIDTH, MOST_WIDTH, THUMBNAIL_WIDTH, WIDTHS
from web.openapi_kit import JOB, closed, number, ok, operation
from web.schema import Schema, schema_of


def layer_paths(schemas: dict[str, Schema]) -> dict[str, Any]:
    """Return the paths; what they refer to lands in `schemas`."""

    def view(cls: type) -> Schema:
        return schema_of(cls, schemas)

    view(FrameEntry)
    for known in ("score", "why"):  # left out where they are not known
        schemas["MaskEntry"]["required"].remove(known)
    masks = closed({"frames": {"type": "array", "items": view(FrameEntry)}})
    return {
        "/api/jobs/{job_id}/layers": {
            "parameters": [JOB],
            "get": operation(
                "listLayers", "All layers of a job: sets of masks over its frames",
                ok(view(LayerList)), errors=(404,),
            ),
        },
        "/api/jobs/{job_id}/layers/{layer}/masks": {
            "parameters": [JOB, _LAYER],
            "get": operation(
                "getMasks", "The masks of up to 200 frames", ok(masks),
                "Every frame of the range has an entry, also where it has no mask. The text comes "
                "as `deflate` to clients that take it.",
                parameters=[_frame("from"), _frame("to")], errors=(400, 404),
            ),
        },
        "/api/jobs/{job_id}/layers/{layer}/timeline": {
            "parameters": [JOB, _LAYER],
            "get": operation(
                "getTimeline", "A layer at a glance", ok(view(TimelineView)), errors=(400, 404)
            ),
        },
        "/api/jobs/{job_id}/differences": {
            "parameters": [JOB],
            "get": operation(
                "getDifferences", "How layer `b` differs from layer `a`", ok(view(DifferencesView)),
                parameters=[_side("a"), _side("b")], errors=(400, 404),
            ),
        },
        "/api/jobs/{job_id}/frames": {
            "parameters": [JOB],
            "get": operation(
                "getFrames", "Which frames a job has", ok(view(FramesView)), errors=(400, 404)
            ),
        },
        "/api/jobs/{job_id}/frames/{frame}.jpg": {
            "parameters": [JOB, {"name": "frame", "in": "path", "required": True,
                                 "schema": {"type": "integer", "minimum": 0}}],
            "get": operation(
                "getFrame", "The picture of one frame", _PICTURE,
                "Without `width` the file as it is in the export. `width` is rounded up to one of "
                f"{', '.join(map(str, WIDTHS))}.",
                parameters=[number("width", LEAST_WIDTH, MOST_WIDTH, None), _DRAWN, _VERSION],
                errors=(400, 404),
            ),
        },
        "/api/jobs/{job_id}/picture.jpg": {
            "parameters": [JOB],
            "get": operation(
                "getThumbnail", "The first key frame with its masks", _PICTURE,
                parameters=[number("width", LEAST_WIDTH, MOST_WIDTH, THUMBNAIL_WIDTH)],
                errors=(400, 404),
            ),
        },
    }  # fmt: skip


def _frame(name: str) -> Schema:
    return number(name, 0, None, None) | {"required": True}


def _side(name: str) -> Schema:
    return _LAYER | {"name": name, "in": "query"}


_LAYER = {
    "name": "layer",
    "in": "path",
    "required": True,
    "description": "run-3, run-3-forward, run-3-backward, revision-2 or session.",
    "schema": {"type": "string"},
}
_DRAWN = {
    "name": "layer",
    "in": "query",
    "description": "A layer whose masks are drawn into the picture.",
    "schema": {"type": "string", "default": ""},
}
_VERSION = {
    "name": "v",
    "in": "query",
    "description": "`version` of the job's frames: then the picture may be kept for ever.",
    "schema": {"type": "string", "default": ""},
}
_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_PICTURE = {
    "200": {
        "description": "The picture.",
        "content": {f"image/{kind}": _IMAGE for kind in ("jpeg", "png", "webp", "bmp")},
    },
    "304": {"description": "The picture that the client has is still good."},
}
