"""The OpenAPI document of the JSON API. A test keeps it and the routes identical."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import Any

from jobs.uploads import UploadView
from jobs.views import (
    MOST_SEED,
    Health,
    JobDetail,
    JobPage,
    JobState,
    JobView,
    PlanView,
    RunOptions,
    RunView,
    WorkerView,
)
from web.board import Board
from web.options import MOST_SPANS
from web.schema import Schema, schema_of

Operation = dict[str, Any]


def document() -> dict[str, Any]:
    """Return the document (OpenAPI 3.1) as plain data."""
    schemas: dict[str, Schema] = {"Error": _ERROR}

    def view(cls: type) -> Schema:
        return schema_of(cls, schemas)

    options = _options(schemas)
    paths = {
        "/api/jobs": {
            "get": _operation(
                "listJobs", "List jobs, newest first", _ok(view(JobPage)),
                parameters=[_SEARCH, _state_parameter(schemas), _number("limit", 1, 500, 50),
                            _number("offset", 0, None, 0)],
            ),
            "post": _operation(
                "uploadExport", "Upload an export", _created(view(JobView)),
                "Send the archive as the raw body with its name in the query, or as the file of a "
                "form. An export that cannot be tracked becomes a failed job whose `reason` says "
                "why. The same name with new content is a new revision of its job.",
                parameters=[_NAME], body=_UPLOAD, errors=(400, 409, 413, 507),
            ),
        },
        "/api/uploads": {
            "post": _operation(
                "createUpload", "Begin an upload in pieces (tus 1.0.0)", _CREATED_UPLOAD,
                "Any tus client may be used. OPTIONS tells version, extensions and largest size.",
                parameters=[_TUS, _header("Upload-Length", "Bytes of the whole archive."),
                            _header("Upload-Metadata", "`filename` and the name in base64.")],
                errors=(400, 412, 413, 507),
            ),
        },
        "/api/uploads/{upload_id}": {
            "parameters": [_UPLOAD_ID],
            "get": _operation(
                "getUpload", "How far an upload came and what became of it", _ok(view(UploadView)),
                "HEAD tells the same in the headers Upload-Offset, Upload-Length and Upload-Job.",
                errors=(404, 507),
            ),
            "patch": _operation(
                "sendPiece", "Send the next bytes of an upload", _PIECE_TAKEN,
                "What arrives is kept, also where the connection breaks. The last byte makes the "
                "archive a revision of its job; an export that cannot be tracked becomes a failed "
                "job whose `reason` says why.",
                parameters=[_TUS, _header("Upload-Offset", "How far the upload came.")],
                body=_PIECE, errors=(400, 404, 409, 412, 413, 415, 423, 507),
            ),
            "delete": _operation(
                "giveUpUpload", "Give an upload up", {"204": {"description": "It is gone."}},
                parameters=[_TUS], errors=(404, 412, 423),
            ),
        },
        "/api/jobs/{job_id}": {
            "parameters": [_JOB],
            "get": _operation(
                "getJob", "A job with revisions, runs, spans and log", _ok(view(JobDetail)),
                errors=(404,),
            ),
            "delete": _operation(
                "deleteJob", "Forget a job and its files",
                {"204": {"description": "The job is gone."}}, errors=(404, 409),
            ),
        },
        "/api/jobs/{job_id}/runs": {
            "parameters": [_JOB],
            "post": _operation(
                "startRun", "Start a run", _created(view(RunView)),
                body=options, errors=(400, 404, 409, 413, 415),
            ),
        },
        "/api/jobs/{job_id}/plan": {
            "parameters": [_JOB],
            "post": _operation(
                "planRun", "What a run would compute", _ok(view(PlanView)),
                body=options, errors=(400, 404, 409, 413, 415),
            ),
        },
        "/api/jobs/{job_id}/cancel": {
            "parameters": [_JOB],
            "post": _operation(
                "cancelRun", "Stop the latest run", _ok(view(JobView)), errors=(404, 409)
            ),
        },
        "/api/jobs/{job_id}/pause": {
            "parameters": [_JOB],
            "post": _operation(
                "pauseRun", "Hold the latest run", _ok(view(JobView)), errors=(404, 409)
            ),
        },
        "/api/jobs/{job_id}/resume": {
            "parameters": [_JOB],
            "post": _operation(
                "resumeRun", "Go on with a paused run", _ok(view(RunView)), errors=(404, 409)
            ),
        },
        "/api/jobs/{job_id}/retry": {
            "parameters": [_JOB],
            "post": _operation(
                "retryRun", "Go on with a failed or cancelled run", _created(view(RunView)),
                errors=(404, 409),
            ),
        },
        "/api/jobs/{job_id}/result.zip": {
            "parameters": [_JOB],
            "get": _operation(
                "downloadResult", "Download a result for CVAT", _ZIP,
                parameters=[_number("run", 1, None, None)], errors=(400, 404),
            ),
        },
        "/api/jobs/{job_id}/report.json": {
            "parameters": [_JOB],
            "get": _operation(
                "getReport", "The report of a result, with the divergence of every mask",
                _ok({"type": "object"}), parameters=[_number("run", 1, None, None)],
                errors=(400, 404),
            ),
        },
        "/api/board": {
            "get": _operation(
                "getBoard", "The dashboard's five boxes at once", _ok(view(Board)),
                parameters=[_SEARCH, _number("limit", 1, 500, 20)],
            ),
        },
        "/api/workers": {
            "get": _operation(
                "listWorkers", "Workers that were seen lately",
                _ok(_closed({"workers": {"type": "array", "items": view(WorkerView)}})), errors=(),
            ),
        },
        "/api/status": {
            "get": _operation("getStatus", "The server's health in words", _ok(_status(schemas)),
                              errors=()),
        },
        "/api/openapi.json": {
            "get": _operation("getOpenApi", "This document", _ok({"type": "object"}), errors=()),
        },
    }  # fmt: skip
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


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    description: str = "",
    *,
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
    errors: tuple[int, ...] = (400,),
) -> Operation:
    operation: Operation = {"operationId": name, "summary": summary}
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = body
    failures = {str(status): _failure(status) for status in (*errors, 401, 403, 429, 500, 503)}
    operation["responses"] = answers | failures
    return operation


def _failure(status: int) -> Schema:
    return {
        "description": _MEANING[status],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _ok(schema: Schema) -> dict[str, Any]:
    return {"200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}}


def _created(schema: Schema) -> dict[str, Any]:
    return {"201": {"description": "Created.", "content": {"application/json": {"schema": schema}}}}


def _closed(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _options(schemas: dict[str, Schema]) -> Schema:
    """Return the body that holds options of a run, in which every field may be left out."""
    schema_of(RunOptions, schemas)
    fields = schemas["RunOptions"]["properties"]
    properties = {}
    for field in dataclasses.fields(RunOptions):
        limits = {"minimum": 0} | _most(field.name) if field.type == "int" else {}
        properties[field.name] = fields[field.name] | limits | {"default": field.default}
    schemas["RunRequest"] = _closed(properties) | {"required": []}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/RunRequest"}}}
    return {"required": False, "content": content}


def _most(option: str) -> Schema:
    most = {"parallel_spans": MOST_SPANS, "seed": MOST_SEED}
    return {"maximum": most[option]} if option in most else {}


def _status(schemas: dict[str, Schema]) -> Schema:
    schema_of(Health, schemas)
    health = schemas["Health"]["properties"]
    return _closed(health | {"notices": {"type": "array", "items": {"type": "string"}}})


def _state_parameter(schemas: dict[str, Schema]) -> Schema:
    return {"name": "state", "in": "query", "schema": schema_of(JobState, schemas)}


def _number(name: str, low: int, high: int | None, default: int | None) -> Schema:
    schema: Schema = {"type": "integer", "minimum": low}
    if high is not None:
        schema["maximum"] = high
    if default is not None:
        schema["default"] = default
    return {"name": name, "in": "query", "schema": schema}


def _header(name: str, description: str, example: str = "") -> Schema:
    schema: Schema = {"type": "string"} | ({"const": example} if example else {})
    return {
        "name": name, "in": "header", "required": True, "description": description,
        "schema": schema,
    }  # fmt: skip


_TUS = _header("Tus-Resumable", "The protocol's version.", "1.0.0")
_JOB = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}
_SEARCH = {
    "name": "search",
    "in": "query",
    "description": "A part of the job's name.",
    "schema": {"type": "string", "default": ""},
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
        "multipart/form-data": {
            "schema": _closed({"file": {"type": "string", "format": "binary"}})
        },
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
_ZIP = {
    "200": {
        "description": "The archive to upload into CVAT.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ERROR = _closed({"error": {"type": "string", "description": "What is wrong and what to do."}})
_MEANING = {
    400: "The request cannot be used as it is.",
    401: "The key or the sign-in is missing.",
    403: "Not with this role, or not from here: a foreign page or a foreign host name.",
    404: "No such job, run or result.",
    409: "The request does not fit the job's present state.",
    412: "Another version of tus, or none, was spoken.",
    413: "The body is too large.",
    415: "The body is of the wrong content type.",
    429: "Too many wrong keys came from this address: `Retry-After` says how long to wait.",
    423: "Another connection sends to this upload at the moment.",
    500: "The server's own fault; its log says more.",
    503: "The database cannot be reached at the moment.",
    507: "The server's disk is full or read-only; what arrived of an upload in pieces is kept.",
}
