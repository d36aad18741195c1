"""What the stand-in of a CVAT server says, built with the SDK's own models."""

from __future__ import annotations

from typing import Any

from cvat_sdk.api_client import ApiClient, Configuration, models

from cvat_io.model import Mask

NAMES = {1: "object", 2: "thing", 3: "HUD"}
ATTRIBUTES: dict[int, dict[int, str]] = {1: {11: "track_id"}, 2: {}, 3: {}}  # of each label


def said(model: type, **values: Any) -> Any:
    """The JSON of one of the SDK's models."""
    made = model._from_openapi_data(**values)
    return ApiClient(Configuration(host="http://x")).sanitize_for_serialization(made)


def said_label(number: int) -> Any:
    specs = [
        models.Attribute._from_openapi_data(
            id=spec, name=name, mutable=False, input_type="text", default_value="", values=[]
        )
        for spec, name in ATTRIBUTES[number].items()
    ]
    return said(models.Label, name=NAMES[number], id=number, attributes=specs, parent_id=None)


def shape_of(label: int, frame: int, mask: Mask, number: int, source: str = "manual") -> dict:
    points = [*mask.runs.tolist(), mask.left, mask.top]
    points += [mask.left + mask.width - 1, mask.top + mask.height - 1]
    return {
        "type": "mask", "label_id": label, "frame": frame, "points": [float(p) for p in points],
        "id": number, "group": 0, "source": source, "attributes": [], "z_order": 0,
        "occluded": False, "outside": False, "rotation": 0.0, "elements": [],
    }  # fmt: skip
