"""Views become JSON without being copied first, which takes as long as reading them."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

from flask.json.provider import DefaultJSONProvider


class Answers(DefaultJSONProvider):
    """Flask's own, but for dataclasses: `dataclasses.asdict` copies every list and text in them."""

    @staticmethod
    def default(value: Any) -> Any:
        """Return a dataclass as the dictionary of its fields, and all else as Flask does.

        A field whose name would be a word of Python ends in "_", which JSON does without.
        """
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {name.rstrip("_"): getattr(value, name) for name in _names(type(value))}
        return DefaultJSONProvider.default(value)


@cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))
