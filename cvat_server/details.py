"""What a mask has beside its pixels that a result can change: attributes, occluded, z-order.

Group and source are not among it: an import by CVAT loses them, so that they say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cvat_io.model import MaskShape
from cvat_server.server import ServerLabel

_NAMES = ("occluded", "z_order", "attributes")


@dataclass(frozen=True, slots=True)
class Details:
    """`attributes`: the number and the value of each that the label has, ascending by number.

    A value that nobody gave is the label's default, as CVAT fills it in.
    """

    occluded: bool
    z_order: int
    attributes: tuple[tuple[int, str], ...]


def details_of(shape: MaskShape, label: ServerLabel) -> Details:
    """Those of a mask of an archive; attributes that the label has no more are passed over."""
    given = ((label.attributes.get(name), value) for name, value in shape.attributes)
    return Details(shape.occluded, shape.z_order, _filled(dict(given), label))


def details_on(row: Mapping[str, Any], label: ServerLabel) -> Details:
    """Those of a mask as the API gives it."""
    given = {each["spec_id"]: str(each["value"]) for each in row.get("attributes") or []}
    placed = bool(row.get("occluded")), int(row.get("z_order") or 0)
    return Details(*placed, _filled(given, label))


def amended(row: Mapping[str, Any], details: Details) -> dict[str, Any]:
    """The mask as the API gives it, but with these details."""
    values = [{"spec_id": number, "value": value} for number, value in details.attributes]
    return {
        **row,
        "occluded": details.occluded,
        "z_order": details.z_order,
        "attributes": values,
    }


def state_of(row: Mapping[str, Any], details: Details) -> str:
    """A hash of a mask as it would be with these details, without the server's own number."""
    rest = {name: value for name, value in row.items() if name not in (*_NAMES, "id")}
    said = [rest, details.occluded, details.z_order, details.attributes]
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _filled(given: Mapping[Any, str], label: ServerLabel) -> tuple[tuple[int, str], ...]:
    """CVAT takes the white space off a value's ends."""
    values = {number: given.get(number, default) for number, default in label.defaults.items()}
    return tuple((number, value.strip()) for number, value in sorted(values.items()))
