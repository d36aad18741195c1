"""What the OpenAPI document says of the studio."""

from __future__ import annotations

from typing import Any

from jobs.components import ComponentsView, SavedView
from jobs.sequences import SequenceView
from jobs.views import JobView
from web.openapi_kit import JOB, closed, ok, operation
from web.schema import Schema, schema_of


def studio_paths(schemas: dict[str, Schema]) -> dict[str, Any]:
    """Return the paths; what they refer to lands in `schemas`."""

    def view(cls: type) -> Schema:
        return schema_of(cls, schemas)

    listed = closed(
        {
            "sequences": {"type": "array", "items": view(SequenceView)},
            "path": {"type": "string", "description": "SEQUENCES_PATH."},
        }
    )
    opened = {
        "200": _with("It is a job.", view(SequenceView)),
        "202": _with("It is being read: ask for it again.", view(SequenceView)),
    }
    return {
        "/api/sequences": {
            "get": operation(
                "listSequences", "Videos and folders of images that can be opened", ok(listed),
                parameters=[_SEARCH],
            ),
            "post": operation(
                "uploadSequence", "Upload a video or a zip of images", opened,
                "Send the file as the raw body with its name in the query. It is read in the "
                "background, as by `open`. The sequence of `frames.zip` is called `frames`.",
                parameters=[_FILE], body=_UPLOAD, errors=(400, 409, 413, 507),
            ),
        },
        "/api/sequences/{name}": {
            "parameters": [_NAME],
            "get": operation(
                "getSequence", "One sequence and how far its reading is", ok(view(SequenceView)),
                errors=(404,),
            ),
            "delete": operation(
                "forgetSequence", "Give up an upload that could not be read",
                {"204": {"description": "It is forgotten; a job of it stays."}},
                errors=(404, 409),
            ),
        },
        "/api/sequences/{name}/open": {
            "parameters": [_NAME],
            "post": operation(
                "openSequence", "Make a sequence a job", opened,
                "The first time, and when its files have changed since, it is read whole; what "
                "changed becomes a new revision of its job.",
                errors=(400, 404),
            ),
        },
        "/api/sequences/{name}/picture.jpg": {
            "parameters": [_NAME],
            "get": operation(
                "getSequencePicture", "A small picture of the first frame",
                {
                    "200": {
                        "description": "The picture.",
                        "content": {
                            "image/jpeg": {"schema": {"type": "string", "format": "binary"}}
                        },
                    },
                    "204": {"description": "None can be read."},
                },
                errors=(404,),
            ),
        },
        "/api/jobs/{job_id}/drawn": {
            "parameters": [JOB],
            "post": operation(
                "keepDrawn", "Let runs start from what was accepted of a sequence",
                ok(view(JobView)),
                "The key frames of the newest result become a revision of the job.",
                errors=(404, 409),
            ),
        },
        "/api/jobs/{job_id}/components": {
            "parameters": [JOB],
            "get": operation(
                "listComponents", "What is saved of a sequence", ok(view(ComponentsView)),
                errors=(404, 409),
            ),
            "post": operation(
                "saveComponent", "Save an object's masks as PNG files", ok(view(SavedView)),
                "Writes RESULTS_PATH/SEQUENCE/COMPONENT/00000.png and so on, 0 and 255, one file "
                "for every frame from `from` to `to` (default: all), and makes the combined "
                "pictures anew. Saving again replaces.",
                body=_COMPONENT, errors=(400, 404, 409, 413, 415, 507),
            ),
        },
        "/api/jobs/{job_id}/components.zip": {
            "parameters": [JOB],
            "get": operation(
                "downloadComponents", "All that is saved of a sequence, in one archive",
                {
                    "200": {
                        "description": "The folders of RESULTS_PATH/SEQUENCE.",
                        "content": {
                            "application/zip": {"schema": {"type": "string", "format": "binary"}}
                        },
                    }
                },
                errors=(404, 409, 507),
            ),
        },
        "/api/jobs/{job_id}/components/{component}": {
            "parameters": [JOB, _COMPONENT_NAME],
            "delete": operation(
                "resetComponent", "Remove a component's files", ok(view(ComponentsView)),
                errors=(400, 404, 409, 507),
            ),
        },
    }  # fmt: skip


def _with(description: str, schema: Schema) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_COMPONENT_NAME = {
    "name": "component", "in": "path", "required": True, "schema": {"type": "string"}
}  # fmt: skip
_SEARCH = {
    "name": "search",
    "in": "query",
    "description": "A part of the name.",
    "schema": {"type": "string", "default": ""},
}
_FILE = {
    "name": "name",
    "in": "query",
    "required": True,
    "description": "The file's name, such as clip.mp4 or frames.zip.",
    "schema": {"type": "string"},
}
_UPLOAD = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_FRAME: Schema = {"type": "integer", "minimum": 0}
_COMPONENT = {
    "required": True,
    "content": {
        "application/json": {
            "schema": closed(
                {
                    "component": {"type": "string", "description": "Such as left."},
                    "object": {"type": "integer", "minimum": 1},
                    "from": _FRAME,
                    "to": _FRAME,
                    "layer": {"type": "string", "default": ""},
                }
            )
            | {"required": ["component", "object"]}
        }
    },
}
