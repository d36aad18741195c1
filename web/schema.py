"""JSON Schemas made from the views' own type hints, so that the two cannot part."""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import Enum
from typing import Any

Schema = dict[str, Any]
_PLAIN: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
}


def schema_of(hint: Any, known: dict[str, Schema]) -> Schema:
    """Return the schema of a type hint; dataclasses and enums land in `known` by name.

    Knows str, int, float, bool, None, `X | None`, tuple[X, ...], dict[str, X], enums, dataclasses.
    """
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [schema_of(part, known) for part in arguments]}
    if hint is type(None):
        return {"type": "null"}
    if origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0], known)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1], known)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        known[hint.__name__] = {"type": "string", "enum": [member.value for member in hint]}
    elif dataclasses.is_dataclass(hint):
        name = typing.cast(type, hint).__name__
        if name not in known:
            known[name] = {}  # a type that holds itself would come back here
            known[name] = _object(hint, known)
    else:
        raise TypeError(f"no schema for {hint!r}")
    return {"$ref": f"#/components/schemas/{hint.__name__}"}


def _object(cls: Any, known: dict[str, Schema]) -> Schema:
    hints = typing.get_type_hints(cls)
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "properties": {
            field.name.rstrip("_"): schema_of(hints[field.name], known)
            for field in dataclasses.fields(cls)
        },
        "required": [field.name.rstrip("_") for field in dataclasses.fields(cls)],
        "additionalProperties": False,
    }
