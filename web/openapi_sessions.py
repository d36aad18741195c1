"""The part of the OpenAPI document that describes live sessions."""

from __future__ import annotations

from typing import Any

from jobs.session_edits import RangeAction
from jobs.session_views import Changed, ChangesView, Published, SessionView
from web.openapi_kit import JOB, closed, number, ok, operation
from web.schema import Schema, schema_of

_PATH = "/api/jobs/{job_id}/session"
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_NUMBERS: Schema = {"type": "array", "items": _WHOLE}
_TEXT: Schema = {"type": "string"}
_BOX: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_POINT: Schema = {
    "type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3
}  # fmt: skip
_SECONDS: Schema = closed({"model": {"type": "number"}, "total": {"type": "number"}})
_STATES = ["queued", "leased", "done", "failed", "stopped"]
_ORIGINS = ["human", "computed", "result", "export", "none"]
_CHANGES = (400, 404, 409, 413, 415)


def session_paths(schemas: dict[str, Schema]) -> dict[str, Any]:
    """Return the paths; the views that they answer with land in `schemas`."""

    def view(cls: type) -> Schema:
        return schema_of(cls, schemas)

    schemas["SessionMask"] = _MASK
    schemas["SessionFrame"] = _FRAME

    def changing(name: str, summary: str, body: Schema, description: str = "") -> dict[str, Any]:
        told = operation(
            name, summary, ok(view(Changed)), description, body=_body(body), errors=_CHANGES
        )
        return {"parameters": [JOB], "post": told}

    def asking(
        name: str, summary: str, body: Schema, answer: Schema, description: str = ""
    ) -> dict[str, Any]:
        told = operation(name, summary, ok(answer), description, body=_body(body), errors=_CHANGES)
        return {"parameters": [JOB], "post": told}

    return {
        _PATH: {
            "parameters": [JOB],
            "get": operation(
                "getSession", "A job's live session", ok(view(SessionView)),
                "It begins at the first look, from the newest published result, else from the "
                "export, and lives as long as the job.",
                errors=(400, 404, 409),
            ),
        },
        f"{_PATH}/frames/{{frame}}": {
            "parameters": [JOB, {"name": "frame", "in": "path", "required": True,
                                 "schema": _WHOLE}],
            "get": operation(
                "getSessionFrame", "A frame with its masks", ok(_ref("SessionFrame")),
                errors=(400, 404, 409),
            ),
        },
        f"{_PATH}/changes": {
            "parameters": [JOB],
            "get": operation(
                "getSessionChanges", "What changed since a version", ok(view(ChangesView)),
                "With `wait` the answer comes once there is something, or after so many seconds. "
                "`client` names the page that asks, so that others see that somebody is there.",
                parameters=[number("since", 0, None, 0), number("wait", 0, 25, 0),
                            {"name": "client", "in": "query",
                             "schema": {"type": "string", "maxLength": 40}}],
                errors=(400, 404, 409),
            ),
        },
        f"{_PATH}/step": asking(
            "stepSession", "Let a worker compute frames",
            closed({"from": _WHOLE, "to": _WHOLE, "stop_at": _maybe(_SHARE),
                    "wait": {"type": "boolean", "default": False}})
            | {"required": ["from", "to"]},
            closed({"id": _WHOLE, "frame": _maybe(_ref("SessionFrame")),
                    "seconds": _maybe(_SECONDS)}),
            "From the masks of `from`, or of the nearest frame on the way that has some, to `to`, "
            "either way, one frame after the other. Key frames are never written onto: the "
            "pass starts anew from each. It stops by itself where the divergence of an object "
            "reaches `stop_at`. With `wait` the answer holds the first frame asked for; `frame` is "
            "null where it was not there in time. A further request waits for its turn.",
        ),
        f"{_PATH}/steps/{{step_id}}": {
            "parameters": [JOB, {"name": "step_id", "in": "path", "required": True,
                                 "schema": _WHOLE}],
            "get": operation(
                "getSessionStep", "How a request stands",
                ok(closed({"id": _WHOLE, "state": {"enum": _STATES},
                           "answer": _maybe({"type": "object"}), "error": _TEXT})),
                errors=(404,),
            ),
        },
        f"{_PATH}/stop": asking(
            "stopSession", "End what workers do for the session", closed({}),
            closed({"stopped": _WHOLE}), "At the frame at hand; what was computed stays.",
        ),
        f"{_PATH}/prepare": asking(
            "prepareSession", "Let a worker be ready for steps and clicks on a frame",
            closed({"frame": _WHOLE, "learn": {"type": "boolean", "default": False}})
            | {"required": ["frame"]},
            closed({"id": _WHOLE}),
            "An engine that learns does so now, if it has not; with `learn` it learns anew from "
            "the key frames of now.",
        ),
        f"{_PATH}/segment": asking(
            "segmentSession", "The mask that clicks and a box mean",
            closed({"frame": _WHOLE, "object": _maybe(_WHOLE),
                    "refine": {"type": "boolean", "default": False},
                    "points": {"type": "array", "items": _POINT}, "box": _maybe(_BOX)})
            | {"required": ["frame"]},
            closed({"mask": _maybe(closed({"box": _BOX, "runs": _TEXT})), "score": _SHARE}),
            "Points are [x, y, 1 on the object or 0 beside it], the box is [x0, y0, x1, y1], both "
            "in pixels from the corner of the first one. With `refine` they mend the mask that "
            "`object` has on the frame. Nothing is saved.",
        ),
        f"{_PATH}/edit": changing(
            "editSession", "Set masks of objects on a frame",
            closed({"frame": _WHOLE, "masks": {"type": "array", "items": _NEW_MASK},
                    "key": {"const": True}}) | {"required": ["frame", "masks"]},
            "The frame becomes a person's, and other objects stay. Where masks overlap the new one "
            "takes the pixels, unless it is `under`. `mask` null takes the object off the frame.",
        ),
        f"{_PATH}/copy": changing(
            "copySessionMasks", "Take masks over from another frame",
            closed({"frame": _WHOLE, "from": _WHOLE, "objects": _maybe(_NUMBERS)})
            | {"required": ["frame", "from"]},
        ),
        f"{_PATH}/range": changing(
            "changeSessionRange", "Delete, forget or accept masks on a range of frames",
            closed({"action": {"enum": [action.value for action in RangeAction]},
                    "objects": _maybe(_NUMBERS), "from": _WHOLE, "to": _WHOLE})
            | {"required": ["action", "from", "to"]},
            "`delete` and `absent`: the objects are not there, on key frames neither. `forget`: "
            "what was computed is to be computed again. `accept`: the frames become key frames.",
        ),
        f"{_PATH}/key": changing(
            "setSessionKey", "Make a frame a key frame, or none",
            closed({"frame": _WHOLE, "key": {"type": "boolean", "default": True}})
            | {"required": ["frame"]},
        ),
        f"{_PATH}/objects": changing(
            "changeSessionObjects", "Add, rename, relabel, merge, split, end or start objects",
            {"oneOf": list(_OBJECT_ACTIONS)},
        ),
        f"{_PATH}/undo": changing("undoSession", "Take back one's last change", closed({})),
        f"{_PATH}/redo": changing("redoSession", "Do again what one took back", closed({})),
        f"{_PATH}/engine": changing(
            "chooseSessionEngine", "Follow objects with another engine",
            closed({"engine": _TEXT, "segmenter": _TEXT}) | {"required": []},
        ),
        f"{_PATH}/accept": {
            "parameters": [JOB],
            "post": operation(
                "acceptSession", "Publish frames as a run", ok(view(Published)),
                "Frames after `until` (null: none) are left out, except key frames.",
                body=_body(closed({"until": _maybe(_WHOLE)}) | {"required": []}), errors=_CHANGES,
            ),
        },
        f"{_PATH}/reset": changing(
            "resetSession", "Begin anew from the newest result or export", closed({}),
            "What was not accepted is lost.",
        ),
    }  # fmt: skip


def _body(schema: Schema) -> Schema:
    return {"required": False, "content": {"application/json": {"schema": schema}}}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _action(name: str, /, **fields: Schema) -> Schema:
    return closed({"action": {"const": name}, **fields})


_MASK: Schema = closed(
    {
        "object": _WHOLE,
        "label": _TEXT,
        "box": _BOX,
        "runs": _TEXT,
        "occluded": {"type": "boolean"},
        "z": {"type": "integer"},
        "score": {"type": "number", "description": "Divergence, where it is known."},
        "why": _TEXT,
    }
)
_MASK["required"] = ["object", "label", "box", "runs", "occluded", "z"]
_FRAME: Schema = closed(
    {
        "frame": _WHOLE,
        "key": {"type": "boolean"},
        "origin": {"enum": _ORIGINS},
        "version": _WHOLE,
        "masks": {"type": "array", "items": _ref("SessionMask")},
    }
)
_NEW_MASK: Schema = closed(
    {
        "object": _WHOLE,
        "box": _BOX,
        "runs": _TEXT,
        "mask": {"type": "null"},
        "under": {"type": "boolean", "default": False},
    }
)
_NEW_MASK["required"] = ["object"]
_OBJECT_ACTIONS = (
    _action("add", name=_TEXT, label=_TEXT) | {"required": ["action", "label"]},
    _action("rename", object=_WHOLE, name=_TEXT),
    _action("relabel", object=_WHOLE, label=_TEXT),
    _action("merge", objects=_NUMBERS, into=_WHOLE),
    _action("split", object=_WHOLE, frame=_WHOLE),
    _action("end", object=_WHOLE, frame=_WHOLE),
    _action("start", object=_WHOLE, frame=_WHOLE),
)
