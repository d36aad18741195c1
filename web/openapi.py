"""The OpenAPI document of the JSON API. A test keeps it and the routes identical."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import Any

from cvat_io.forms import MOST_MEGABYTES, MOST_TOLERANCE, TOLERANCE, Form
from jobs.look import Sort
from jobs.options import MOST_CLEANED, MOST_SEED, RunOptions
from jobs.uploads import UploadView
from jobs.views import Health, JobDetail, JobPage, JobState, JobView, PlanView, RunView, WorkerView
from web.board import Board
from web.openapi_kit import ERROR, JOB, closed, created, header, number, ok, operation
from web.openapi_layers import layer_paths
from web.openapi_sessions import session_paths
from web.openapi_studio import studio_paths
from web.options import MOST_SPANS
from web.schema import Schema, schema_of


def document() -> dict[str, Any]:
    """Return the document (OpenAPI 3.1) as plain data."""
    schemas: dict[str, Schema] = {"Error": ERROR}

    def view(cls: type) -> Schema:
        return schema_of(cls, schemas)

    options = _options(schemas)
    paths = {
        "/api/jobs": {
            "get": operation(
                "listJobs", "List jobs", ok(view(JobPage)),
                parameters=[_SEARCH, _LABEL, _SORT, _state_parameter(schemas),
                            number("limit", 1, 500, 50), number("offset", 0, None, 0)],
            ),
            "post": operation(
                "uploadExport", "Upload an export", created(view(JobView)),
                "Send the archive as the raw body with its name in the query, or as the file of a "
                "form. An export that cannot be tracked becomes a failed job whose `reason` says "
                "why. The same name with new content is a new revision of its job.",
                parameters=[_NAME], body=_UPLOAD, errors=(400, 409, 413, 507),
            ),
        },
        "/api/uploads": {
            "post": operation(
                "createUpload", "Begin an upload in pieces (tus 1.0.0)", _CREATED_UPLOAD,
                "Any tus client may be used. OPTIONS tells version, extensions and largest size.",
                parameters=[_TUS, header("Upload-Length", "Bytes of the whole archive."),
                            header("Upload-Metadata", "`filename` and the name in base64.")],
                errors=(400, 412, 413, 507),
            ),
        },
        "/api/uploads/{upload_id}": {
            "parameters": [_UPLOAD_ID],
            "get": operation(
                "getUpload", "How far an upload came and what became of it", ok(view(UploadView)),
                "HEAD tells the same in the headers Upload-Offset, Upload-Length and Upload-Job.",
                errors=(404, 507),
            ),
            "patch": operation(
                "sendPiece", "Send the next bytes of an upload", _PIECE_TAKEN,
                "What arrives is kept, also where the connection breaks. The last byte makes the "
                "archive a revision of its job; an export that cannot be tracked becomes a failed "
                "job whose `reason` says why.",
                parameters=[_TUS, header("Upload-Offset", "How far the upload came.")],
                body=_PIECE, errors=(400, 404, 409, 412, 413, 415, 423, 507),
            ),
            "delete": operation(
                "giveUpUpload", "Give an upload up", {"204": {"description": "It is gone."}},
                parameters=[_TUS], errors=(404, 412, 423),
            ),
        },
        "/api/jobs/{job_id}": {
            "parameters": [JOB],
            "get": operation(
                "getJob", "A job with revisions, runs, spans and log", ok(view(JobDetail)),
                errors=(404,),
            ),
            "delete": operation(
                "deleteJob", "Forget a job and its files",
                {"204": {"description": "The job is gone."}}, errors=(404, 409),
            ),
        },
        "/api/jobs/{job_id}/runs": {
            "parameters": [JOB],
            "post": operation(
                "startRun", "Start a run", created(view(RunView)),
                body=options, errors=(400, 404, 409, 413, 415),
            ),
        },
        "/api/jobs/{job_id}/plan": {
            "parameters": [JOB],
            "post": operation(
                "planRun", "What a run would compute", ok(view(PlanView)),
                body=options, errors=(400, 404, 409, 413, 415),
            ),
        },
        "/api/jobs/{job_id}/cancel": {
            "parameters": [JOB],
            "post": operation(
                "cancelRun", "Stop the latest run", ok(view(JobView)), errors=(404, 409)
            ),
        },
        "/api/jobs/{job_id}/pause": {
            "parameters": [JOB],
            "post": operation(
                "pauseRun", "Hold the latest run", ok(view(JobView)), errors=(404, 409)
            ),
        },
        "/api/jobs/{job_id}/resume": {
            "parameters": [JOB],
            "post": operation(
                "resumeRun", "Go on with a paused run", ok(view(RunView)), errors=(404, 409)
            ),
        },
        "/api/jobs/{job_id}/retry": {
            "parameters": [JOB],
            "post": operation(
                "retryRun", "Go on with a failed or cancelled run", created(view(RunView)),
                errors=(404, 409),
            ),
        },
        "/api/jobs/{job_id}/result.zip": {
            "parameters": [JOB],
            "get": operation(
                "downloadResult", "Download a result for CVAT", _ZIP,
                parameters=[number("run", 1, None, None)], errors=(400, 404),
            ),
        },
        "/api/jobs/{job_id}/download": {
            "parameters": [JOB],
            "get": operation(
                "downloadForm", "Download a result in any form", _FORM,
                "It is made when it is asked for, which takes from a second to minutes. What "
                "people should know of it, such as holes that polygons lack, is in the header "
                "Relay-Notes.",
                parameters=[_FORMAT, number("run", 1, None, None), _TOLERANCE,
                            number("shard_mb", 1, MOST_MEGABYTES, None)],
                errors=(400, 404, 409, 507),
            ),
        },
        "/api/jobs/{job_id}/report.json": {
            "parameters": [JOB],
            "get": operation(
                "getReport", "The report of a result, with the divergence of every mask",
                ok({"type": "object"}), parameters=[number("run", 1, None, None)],
                errors=(400, 404),
            ),
        },
        "/api/board": {
            "get": operation(
                "getBoard", "The dashboard's five boxes at once", ok(view(Board)),
                parameters=[_SEARCH, _LABEL, _SORT, number("limit", 1, 500, 20)],
            ),
        },
        "/api/workers": {
            "get": operation(
                "listWorkers", "Workers that were seen lately",
                ok(closed({"workers": {"type": "array", "items": view(WorkerView)}})), errors=(),
            ),
        },
        "/api/status": {
            "get": operation("getStatus", "The server's health in words", ok(_status(schemas)),
                              errors=()),
        },
        "/api/openapi.json": {
            "get": operation("getOpenApi", "This document", ok({"type": "object"}), errors=()),
        },
    }  # fmt: skip
    paths |= layer_paths(schemas)
    paths |= studio_paths(schemas)
    paths |= session_paths(schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Mask Relay",
            "version": metadata.version("mask-relay"),
            "description": "Times are seconds since the epoch (UTC). Every error is "
            '`{"error": "one sentence"}`. Where there is a key, send `Authorization: Bearer KEY`.',
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _options(schemas: dict[str, Schema]) -> Schema:
    """Return the body that holds options of a run, in which every field may be left out."""
    schema_of(RunOptions, schemas)
    fields = schemas["RunOptions"]["properties"]
    properties = {}
    for field in dataclasses.fields(RunOptions):
        limits = {"minimum": 0} | _most(field.name) if field.type == "int" else {}
        properties[field.name] = fields[field.name] | limits | {"default": field.default}
    schemas["RunRequest"] = closed(properties) | {"required": []}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/RunRequest"}}}
    return {"required": False, "content": content}


def _most(option: str) -> Schema:
    most = {
        "parallel_spans": MOST_SPANS,
        "seed": MOST_SEED,
        "min_speck": MOST_CLEANED,
        "min_hole": MOST_CLEANED,
    }
    return {"maximum": most[option]} if option in most else {}


def _status(schemas: dict[str, Schema]) -> Schema:
    schema_of(Health, schemas)
    health = schemas["Health"]["properties"]
    return closed(health | {"notices": {"type": "array", "items": {"type": "string"}}})


def _state_parameter(schemas: dict[str, Schema]) -> Schema:
    return {"name": "state", "in": "query", "schema": schema_of(JobState, schemas)}


_TUS = header("Tus-Resumable", "The protocol's version.", "1.0.0")
_SEARCH = {
    "name": "search",
    "in": "query",
    "description": "A part of the job's name.",
    "schema": {"type": "string", "default": ""},
}
_LABEL = {
    "name": "label",
    "in": "query",
    "description": "A label that is drawn in the job.",
    "schema": {"type": "string", "default": ""},
}
_SORT = {
    "name": "sort",
    "in": "query",
    "description": "The order: what changed last first or last, by name, the longest first, or the "
    "one with the largest share of flagged frames first.",
    "schema": {"type": "string", "enum": [sort.value for sort in Sort], "default": "recent"},
}
_UPLOAD_ID = {
    "name": "upload_id", "in": "path", "required": True, "schema": {"type": "string"}
}  # fmt: skip
_NAME = {
    "name": "name",
    "in": "query",
    "description": "The archive's file name, such as 264.zip; a form's file brings its own.",
    "schema": {"type": "string"},
}
_UPLOAD = {
    "required": True,
    "content": {
        "application/zip": {"schema": {"type": "string", "format": "binary"}},
        "application/xml": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {"schema": closed({"file": {"type": "string", "format": "binary"}})},
    },
}
_CREATED_UPLOAD = {
    "201": {
        "description": "Send pieces to the address in the header Location.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}
_PIECE = {
    "required": True,
    "content": {
        "application/offset+octet-stream": {"schema": {"type": "string", "format": "binary"}}
    },
}
_PIECE_TAKEN = {
    "204": {
        "description": "The piece is kept.",
        "headers": {
            "Upload-Offset": {
                "description": "How far the upload came.", "schema": {"type": "integer"}
            },
            "Upload-Job": {
                "description": "The job's id, once the last byte is here.",
                "schema": {"type": "string"},
            },
        },
    }
}  # fmt: skip
_FORMAT = {
    "name": "format",
    "in": "query",
    "schema": {"enum": [str(form) for form in Form], "default": str(Form.CVAT)},
}
_TOLERANCE = {
    "name": "tolerance",
    "in": "query",
    "description": "Pixels that a polygon may lie beside the border of its mask.",
    "schema": {"type": "number", "minimum": 0, "maximum": MOST_TOLERANCE, "default": TOLERANCE},
}
_FORM = {
    "200": {
        "description": "The file.",
        "content": {
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "video/mp4": {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {"Relay-Notes": {"schema": {"type": "string"}}},
    }
}
_ZIP = {
    "200": {
        "description": "The archive to upload into CVAT.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
