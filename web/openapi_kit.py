"""Pieces of the OpenAPI document that its parts share: one operation, answers, parameters."""

from __future__ import annotations

from typing import Any

from web.schema import Schema

Operation = dict[str, Any]


def operation(
    name: str,
    summary: str,
    answers: dict[str, Any],
    description: str = "",
    *,
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
    errors: tuple[int, ...] = (400,),
) -> Operation:
    """Return one operation; `errors`: statuses beside those that any request may meet."""
    told: Operation = {"operationId": name, "summary": summary}
    if description:
        told["description"] = description
    if parameters:
        told["parameters"] = parameters
    if body is not None:
        told["requestBody"] = body
    failures = {str(status): _failure(status) for status in (*errors, 401, 403, 429, 500, 503)}
    told["responses"] = answers | failures
    return told


def _failure(status: int) -> Schema:
    return {
        "description": _MEANING[status],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def ok(schema: Schema) -> dict[str, Any]:
    """Return the answers of an operation that gives JSON of this schema."""
    return {"200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}}


def created(schema: Schema) -> dict[str, Any]:
    """Return the answers of an operation that makes something."""
    return {"201": {"description": "Created.", "content": {"application/json": {"schema": schema}}}}


def closed(properties: dict[str, Schema]) -> Schema:
    """Return the schema of an object that has exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def number(name: str, low: int, high: int | None, default: int | None) -> Schema:
    """Return a whole number in the query, from `low` to `high` (None: no end)."""
    schema: Schema = {"type": "integer", "minimum": low}
    if high is not None:
        schema["maximum"] = high
    if default is not None:
        schema["default"] = default
    return {"name": name, "in": "query", "schema": schema}


def header(name: str, description: str, example: str = "") -> Schema:
    """Return a header that has to be sent; `example`: the only text that it may hold."""
    schema: Schema = {"type": "string"} | ({"const": example} if example else {})
    return {
        "name": name, "in": "header", "required": True, "description": description,
        "schema": schema,
    }  # fmt: skip


JOB = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string"}}
ERROR = closed({"error": {"type": "string", "description": "What is wrong and what to do."}})
_MEANING = {
    400: "The request cannot be used as it is.",
    401: "The key or the sign-in is missing.",
    403: "Not with this role, or not from here: a foreign page or a foreign host name.",
    404: "No such job, run, result, layer or frame.",
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
